#include "child/memory_room.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <string_view>
#include <utility>

namespace supervisor {
namespace {

constexpr std::uint64_t kibi = 1024;
constexpr std::uint64_t mebi = kibi * kibi;

std::optional<std::uint64_t> smaller(std::optional<std::uint64_t> one, std::optional<std::uint64_t> other) {
    if (!one || !other) {
        return one ? one : other;
    }
    return std::min(*one, *other);
}

/// The whole file, of a size that the kernel's have; empty if it can't be read.
std::string text_of(const std::string& path) {
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return {};
    }
    std::string text;
    std::array<char, 4096> buffer{};
    for (ssize_t size = 0; (size = ::read(file, buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<std::size_t>(size));
    }
    ::close(file);
    return text;
}

/// Takes the text up to `separator` from the front of `rest`.
std::string_view take(std::string_view& rest, char separator) {
    const auto end = rest.find(separator);
    const auto word = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    return word;
}

/// The number that the text begins with; nothing for another beginning, such as "max".
std::optional<std::uint64_t> leading_number(std::string_view text) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc{} ? std::optional{number} : std::nullopt;
}

/// The number behind `name` in a file of lines with a name and a number each.
std::optional<std::uint64_t> number_named(const std::string& path, std::string_view name) {
    const auto text = text_of(path);
    for (std::string_view rest = text; !rest.empty();) {
        auto line = take(rest, '\n');
        if (line.starts_with(name)) {
            line.remove_prefix(std::min(line.find_first_not_of(' ', name.size()), line.size()));
            return leading_number(line);
        }
    }
    return std::nullopt;
}

/// A process's group, the third field behind the name in /proc/PID/stat (proc(5)); 0 if it is gone.
pid_t group_of(const std::string& process_folder) {
    const auto line = text_of(process_folder + "/stat");
    // The name may hold anything, parentheses included, so the fields are counted from its last one.
    const auto name_end = line.rfind(") ");
    auto fields = std::string_view{line}.substr(name_end == std::string::npos ? line.size() : name_end + 2);
    take(fields, ' ');
    take(fields, ' ');
    return static_cast<pid_t>(leading_number(fields).value_or(0));
}

}  // namespace

std::optional<std::uint64_t> MemoryRoom::left() const {
    auto left = left_in_machine();
    const auto text = text_of(root_ + "proc/self/cgroup");
    // A line is ID:CONTROLLERS:PATH. Version 2 has one, with no controllers (cgroups(7)).
    for (std::string_view rest = text; !rest.empty();) {
        auto line = take(rest, '\n');
        take(line, ':');
        const auto controllers = ',' + std::string{take(line, ':')} + ',';
        const std::string path{line};
        if (controllers == ",,") {
            left = smaller(left, left_in_hierarchy("sys/fs/cgroup", path, true));
        } else if (controllers.find(",memory,") != std::string::npos) {
            left = smaller(left, left_in_hierarchy("sys/fs/cgroup/memory", path, false));
        }
    }
    return left;
}

/// A container sees its own group at the mount's top, whatever the path says, so a folder that is not there is passed
/// over.
std::optional<std::uint64_t> MemoryRoom::left_in_hierarchy(const std::string& mount, std::string path,
                                                           bool version_2) const {
    std::optional<std::uint64_t> left;
    for (;;) {
        left = smaller(left, left_in_group(root_ + mount + path, version_2));
        if (path.empty()) {
            return left;
        }
        path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
    }
}

std::optional<std::uint64_t> MemoryRoom::left_in_group(const std::string& folder, bool version_2) const {
    const auto limit = leading_number(text_of(folder + (version_2 ? "/memory.max" : "/memory.limit_in_bytes")));
    const auto usage = leading_number(text_of(folder + (version_2 ? "/memory.current" : "/memory.usage_in_bytes")));
    if (!limit || !usage) {
        return std::nullopt;
    }
    const auto cache =
        number_named(folder + "/memory.stat", version_2 ? "inactive_file " : "total_inactive_file ").value_or(0);
    const auto taken = *usage - std::min(cache, *usage);
    return *limit - std::min(taken, *limit);
}

std::optional<std::uint64_t> MemoryRoom::left_in_machine() const {
    const auto available = number_named(root_ + "proc/meminfo", "MemAvailable:");
    return available ? std::optional{*available * kibi} : std::nullopt;
}

std::uint64_t MemoryRoom::used_by_group(pid_t group) const {
    std::uint64_t pages = 0;
    const auto folder = root_ + "proc";
    const std::unique_ptr<DIR, int (*)(DIR*)> directory{::opendir(folder.c_str()), ::closedir};
    while (const dirent* entry = directory ? ::readdir(directory.get()) : nullptr) {
        const std::string name{static_cast<const char*>(entry->d_name)};
        if (leading_number(name) && group_of(folder + '/' + name) == group) {
            const auto sizes = text_of(folder + '/' + name + "/statm");
            const auto resident = sizes.find(' ');
            pages += resident == std::string::npos
                         ? 0
                         : leading_number(std::string_view{sizes}.substr(resident + 1)).value_or(0);
        }
    }
    return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

std::optional<std::string> no_room_beside(pid_t group, const MemoryRoom& memory) {
    const auto left = memory.left();
    const auto needed = memory.used_by_group(group) / 10 * 13;
    if (!left || *left >= needed) {
        return std::nullopt;
    }
    return std::to_string(*left / mebi) + " MiB of memory are left, and " + std::to_string(needed / mebi) +
           " MiB are needed, 1.3 times the child's";
}

}  // namespace supervisor
