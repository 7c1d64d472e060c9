/* What the benchmark's candidates run, and two small tools. One static program: its own start costs little.
 *
 *   child stamp COMMAND [ARG...]   notes the time in BENCH_EXEC_AT and becomes COMMAND
 *   child fetch HOST PORT          asks the metadata server for one token, reports how long that took
 *   child [ANYTHING...]            does what BENCH_CHILD says:
 *     start     reports the time from BENCH_EXEC_AT to its first instruction and ends
 *     wait      reports the time of its first instruction, and of its end, which is on SIGTERM
 *     signals   reports the time of every SIGUSR1
 *     orphans   leaves BENCH_ORPHANS processes without a parent, releases all of them at once and reports how
 *               long it took until none was left, dead ones included; with BENCH_REAP_SELF it reaps them
 *
 * A report is one line on standard error: "bench NAME NANOSECONDS". Times are CLOCK_MONOTONIC's.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* No process of the benchmark outlives this, whatever happens to the one that should end it. */
static const unsigned longest_life_seconds = 600;

static long long nanoseconds(struct timespec time) { return time.tv_sec * 1000000000LL + time.tv_nsec; }

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return nanoseconds(time);
}

/* The exec to be timed is over with the first instruction. What libc does before main is not the init's
 * work, and takes longer than the exec where the hypervisor traps CPUID, so the time is taken before it. */
struct timespec first_instruction;
#ifdef __x86_64__
__asm__(
    ".globl bench_entry\n"
    "bench_entry:\n"
    "    movl $228, %eax\n" /* clock_gettime */
    "    movl $1, %edi\n"   /* CLOCK_MONOTONIC */
    "    leaq first_instruction(%rip), %rsi\n"
    "    syscall\n"
    "    jmp _start\n");
#else
#error "the entry is written for x86-64, as the release is"
#endif

/* By write(2) alone, since signal handlers report too. */
static void report(const char* name, long long value) {
    char line[96];
    char* end = line + sizeof line;
    char* at = end;
    *--at = '\n';
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    *--at = ' ';
    const size_t length = strlen(name);
    at -= length;
    memcpy(at, name, length);
    at -= 6;
    memcpy(at, "bench ", 6);
    if (write(STDERR_FILENO, at, (size_t)(end - at)) < 0) {
        _exit(1);
    }
}

static void fail(const char* what) {
    fprintf(stderr, "bench child: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int stamp(char** command) {
    char time[32];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    snprintf(time, sizeof time, "%lld", now());
    setenv("BENCH_EXEC_AT", time, 1);
    execvp(command[0], command);
    fail(command[0]);
    return 127;
}

static int fetch(const char* host, const char* port) {
    char request[512];
    char answer[65536];
    size_t got = 0;
    size_t whole = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        errno = EINVAL;
        fail(host);
    }
    const int length = snprintf(request, sizeof request,
                                "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\n"
                                "Host: %s:%s\r\nAccept: */*\r\nMetadata-Flavor: Google\r\n\r\n",
                                host, port);
    const long long before = now();
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    if (connection < 0 || connect(connection, (struct sockaddr*)&address, sizeof address) != 0) {
        fail("connect");
    }
    if (send(connection, request, (size_t)length, 0) != length) {
        fail("send");
    }
    while (whole == 0 || got < whole) {
        const ssize_t size = recv(connection, answer + got, sizeof answer - 1 - got, 0);
        if (size <= 0) {
            fail("receive");
        }
        got += (size_t)size;
        answer[got] = '\0';
        const char* head_end = strstr(answer, "\r\n\r\n");
        const char* content_length = strcasestr(answer, "\r\nContent-Length:");
        if (whole == 0 && head_end != NULL) {
            if (content_length == NULL || strncmp(answer, "HTTP/1.1 200", 12) != 0) {
                errno = EPROTO;
                fail("answer");
            }
            whole = (size_t)(head_end + 4 - answer) + strtoul(content_length + 17, NULL, 10);
        }
    }
    report("fetch", now() - before);
    return 0;
}

static int start(long long started) {
    const char* exec_at = getenv("BENCH_EXEC_AT");
    if (exec_at == NULL) {
        errno = EINVAL;
        fail("BENCH_EXEC_AT");
    }
    report("start", started - atoll(exec_at));
    return 0;
}

static void end_on_term(int signal) {
    (void)signal;
    report("end-at", now());
    _exit(0);
}

static void note_signal(int signal) {
    (void)signal;
    report("signal-at", now());
}

static _Noreturn void wait_for_signals(int signal, void (*handler)(int), long long started) {
    struct sigaction action = {.sa_handler = handler};
    sigaction(signal, &action, NULL);
    report("start-at", started);
    for (;;) {
        pause();
    }
}

/* Leaves `count` processes that end when the pipe's other side is closed, and returns their group. */
static pid_t leave_orphans(int count, const int gate[2]) {
    const pid_t maker = fork();
    if (maker < 0) {
        fail("fork");
    }
    if (maker > 0) {
        int status = 0;
        if (waitpid(maker, &status, 0) != maker || status != 0) {
            errno = EAGAIN;
            fail("orphans not made");
        }
        return maker;
    }
    setpgid(0, 0);
    close(gate[1]);
    for (int made = 0; made < count; ++made) {
        const pid_t pid = fork();
        if (pid < 0) {
            fail("fork");
        }
        if (pid == 0) {
            char nothing;
            alarm(longest_life_seconds);
            _exit(read(gate[0], &nothing, 1) == 0 ? 0 : 1);
        }
    }
    _exit(0);
}

static int orphans(int count, int reap_self) {
    int gate[2];
    const struct timespec pause_between_looks = {.tv_nsec = 1000000};
    if (pipe(gate) != 0) {
        fail("pipe");
    }
    if (reap_self) {
        prctl(PR_SET_CHILD_SUBREAPER, 1);
    }
    const pid_t group = leave_orphans(count, gate);
    if (kill(-group, 0) != 0) {
        fail("the orphans' group");
    }
    /* All of them are asleep by then. */
    usleep(100000);
    const long long released = now();
    close(gate[1]);
    if (reap_self) {
        while (waitpid(-1, NULL, 0) > 0) {
        }
    } else {
        while (kill(-group, 0) == 0 || errno == EPERM) {
            nanosleep(&pause_between_looks, NULL);
        }
    }
    report("orphans", now() - released);
    return 0;
}

int main(int argc, char** argv) {
    const long long started = nanoseconds(first_instruction);
    if (argc > 2 && strcmp(argv[1], "stamp") == 0) {
        return stamp(argv + 2);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(longest_life_seconds);
    if (argc == 4 && strcmp(argv[1], "fetch") == 0) {
        return fetch(argv[2], argv[3]);
    }
    const char* role = getenv("BENCH_CHILD");
    if (role != NULL && strcmp(role, "start") == 0) {
        return start(started);
    }
    if (role != NULL && strcmp(role, "wait") == 0) {
        wait_for_signals(SIGTERM, end_on_term, started);
    }
    if (role != NULL && strcmp(role, "signals") == 0) {
        wait_for_signals(SIGUSR1, note_signal, started);
    }
    if (role != NULL && strcmp(role, "orphans") == 0 && getenv("BENCH_ORPHANS") != NULL) {
        return orphans(atoi(getenv("BENCH_ORPHANS")), getenv("BENCH_REAP_SELF") != NULL);
    }
    fputs("bench child: BENCH_CHILD is start, wait, signals or orphans\n", stderr);
    return 2;
}
