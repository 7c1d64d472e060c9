// Files of the kernel that hold names which others chose, of control groups and processes: child/memory_room.
//
// The input has the contents of these files, one behind the other, separated by the byte 0x1E; a file that the input does not
// reach is not there.
#include "child/memory_room.hpp"

#include "support/property.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <filesystem>

using namespace supervisor;

namespace {

constexpr pid_t group = 7;
constexpr auto memberships = "proc/self/cgroup";
constexpr std::array<const char*, 13> names{memberships,
                                            "proc/meminfo",
                                            "sys/fs/cgroup/memory.max",
                                            "sys/fs/cgroup/memory.current",
                                            "sys/fs/cgroup/memory.stat",
                                            "sys/fs/cgroup/a/memory.max",
                                            "sys/fs/cgroup/a/memory.current",
                                            "sys/fs/cgroup/a/memory.stat",
                                            "sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                                            "sys/fs/cgroup/memory/a/memory.usage_in_bytes",
                                            "sys/fs/cgroup/memory/a/memory.stat",
                                            "proc/7/stat",
                                            "proc/7/statm"};

/// A folder in memory with the folders of the files, removed at the end of the process.
class Root {
public:
    Root() {
        std::string name = "/dev/shm/fuzz-kernel-files-XXXXXX";
        fuzz::require(::mkdtemp(name.data()) != nullptr, "there is a folder");
        path_ = name + '/';
        for (const auto* file : names) {
            std::filesystem::create_directories(std::filesystem::path{path_ + file}.parent_path());
        }
    }
    Root(const Root&) = delete;
    Root& operator=(const Root&) = delete;
    ~Root() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }

    [[nodiscard]] const std::string& path() const { return path_; }
    void remove(const char* file) const { ::unlink((path_ + file).c_str()); }
    void write(const char* file, std::string_view text) const {
        const int number = ::open((path_ + file).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        fuzz::require(::write(number, text.data(), text.size()) == static_cast<ssize_t>(text.size()),
                      "a file is written");
        ::close(number);
    }

private:
    std::string path_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const Root root;
    auto rest = fuzz::as_text(data, size);
    for (const auto* file : names) {
        if (rest.empty()) {
            root.remove(file);
        } else {
            root.write(file, fuzz::take(rest, '\x1e'));
        }
    }
    const MemoryRoom memory{root.path()};
    const auto used = memory.used_by_group(group);
    fuzz::require(used % static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) == 0, "memory is used in whole pages");
    const auto why = no_room_beside(group, memory);
    fuzz::require(!why || fuzz::is_one_line(*why), "a reason is one line");
    const auto left = memory.left();
    fuzz::require(left || !why, "what is not known is no reason");
    root.remove(memberships);
    const auto in_machine = memory.left();
    fuzz::require(!in_machine || (left && *left <= *in_machine), "a limit takes room away and never gives any");
    return 0;
}
