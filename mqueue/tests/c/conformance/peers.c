/* See common.h: threads and processes, calls that block in them, and waiting until they do. */
#include "common.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

const char *const verb_names[4] = {"mq_send", "mq_timedsend", "mq_receive", "mq_timedreceive"};

void *shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(memory != MAP_FAILED, "shared memory");
    return memory;
}

static void nap(void)
{
    struct timespec time = {.tv_nsec = 500000};
    nanosleep(&time, NULL);
}

/* Polls, at most NET seconds. */
static int until(int (*holds)(void *), void *of)
{
    struct timespec net = in_ms(NET * 1000);
    while (!holds(of)) {
        if (passed(&net))
            return 0;
        nap();
    }
    return 1;
}

static int is_set(void *flag)
{
    return atomic_load((_Atomic int *)flag);
}

void until_set(_Atomic int *flag)
{
    must(until(is_set, flag), "a peer did not come to its point");
}

/* ---- who sleeps ---- */

static int waits_for_others(long call)
{
    static const long calls[] = {
        SYS_mq_timedsend, SYS_mq_timedreceive, SYS_futex, 449 /* futex_waitv */, SYS_ppoll, SYS_pselect6, SYS_epoll_pwait,
        SYS_read,         SYS_restart_syscall, SYS_rt_sigtimedwait,
#ifdef SYS_poll
        SYS_poll,         SYS_select,          SYS_epoll_wait,
#endif
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (call == calls[i])
            return 1;
    return 0;
}

static int first_line(pid_t process, pid_t task, const char *file, char *text, int size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/%s", process, task == 0 ? process : task, file);
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return 0;
    int got = fgets(text, size, stream) != NULL;
    fclose(stream);
    return got;
}

int sleeps(pid_t process, pid_t task)
{
    char stat[512], call[256];
    if (!first_line(process, task, "stat", stat, sizeof stat))
        return 0;
    const char *state = strrchr(stat, ')');
    if (state == NULL || state[1] == '\0' || state[2] != 'S')
        return 0;
    /* Of a process that has become another user it cannot be read: then the state has to do. */
    return !first_line(process, task, "syscall", call, sizeof call) || waits_for_others(strtol(call, NULL, 10));
}

struct sleeper {
    pid_t process, task;
};

static int sleeps_on(void *of)
{
    const struct sleeper *who = of;
    for (int look = 0; look < 6; look++) {
        if (!sleeps(who->process, who->task))
            return 0;
        nap();
    }
    return 1;
}

void until_asleep(pid_t process, pid_t task)
{
    struct sleeper who = {process, task};
    must(until(sleeps_on, &who), "a peer does not sleep");
}

/* ---- calls ---- */

struct call *new_call(enum verb verb, mqd_t queue)
{
    struct call *call = shared(sizeof *call);
    call->verb = verb;
    call->queue = queue;
    call->text = "new";
    call->priority = 1;
    return call;
}

int is_send(enum verb verb)
{
    return verb == SEND || verb == TIMEDSEND;
}

/* The headers say that a deadline is never NULL, which Linux takes for none. */
static const struct timespec *deadline_of(const struct call *call)
{
    const struct timespec *volatile deadline = call->deadline;
    return deadline;
}

void make(struct call *call)
{
    char bytes[256];
    unsigned priority = 77;
    ssize_t got;
    size_t length = strlen(call->text);
    call->task = gettid();
    switch (call->verb) {
    case SEND:
        got = mq_send(call->queue, call->text, length, call->priority);
        break;
    case TIMEDSEND:
        got = mq_timedsend(call->queue, call->text, length, call->priority, deadline_of(call));
        break;
    case RECEIVE:
        got = mq_receive(call->queue, bytes, sizeof bytes, &priority);
        break;
    default:
        got = mq_timedreceive(call->queue, bytes, sizeof bytes, &priority, deadline_of(call));
    }
    if (got < 0 || is_send(call->verb))
        snprintf(call->result, sizeof call->result, "%s", outcome(got));
    else
        snprintf(call->result, sizeof call->result, "%.*s/%u", (int)got > 64 ? 64 : (int)got, bytes, priority);
}

static void prepare(struct call *call)
{
    /* On Linux the nice value is the thread's own. */
    if (call->nice != 0)
        must(setpriority(PRIO_PROCESS, 0, call->nice) == 0, "setting the nice value");
    if (call->before != NULL)
        call->before(call);
}

static void clean_up(void *of)
{
    struct call *call = of;
    call->cleaned = 1;
    call->done = 1;
}

static void *thread_of(void *of)
{
    struct call *call = of;
    pthread_cleanup_push(clean_up, call);
    prepare(call);
    make(call);
    pthread_cleanup_pop(0);
    call->done = 1;
    return NULL;
}

void in_thread(struct call *call)
{
    call->process = getpid();
    must(pthread_create(&call->thread, NULL, thread_of, call) == 0, "a thread");
}

void in_process(struct call *call)
{
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        prepare(call);
        make(call);
        call->done = 1;
        _exit(0);
    }
    call->process = child;
}

static int about_to(void *of)
{
    return ((struct call *)of)->task != 0;
}

void until_blocked(struct call *call)
{
    must(until(about_to, call), "a caller did not come to its call");
    struct sleeper who = {call->process, call->task};
    struct timespec net = in_ms(NET * 1000);
    while (!sleeps_on(&who)) {
        if (call->done) {
            fprintf(stderr, "conformance: %s did not block, but ended with %s\n", verb_names[call->verb], call->result);
            die("a call did not block");
        }
        must(!passed(&net), "a caller does not sleep");
        nap();
    }
}

const char *blocked(struct call *call)
{
    struct sleeper who = {call->process, call->task};
    struct timespec net = in_ms(NET * 1000);
    while (!call->done && !passed(&net))
        if (sleeps_on(&who))
            return "waits";
    return call->done ? "ended" : "runs";
}

const char *result(struct call *call)
{
    void *end = NULL;
    if (call->thread != 0) {
        struct timespec net = in_ms(NET * 1000);
        if (pthread_timedjoin_np(call->thread, &end, &net) != 0)
            return "still waits";
        return end == PTHREAD_CANCELED ? "cancelled" : call->result;
    }
    if (!until(is_set, &call->done))
        return "still waits";
    must(waitpid(call->process, NULL, 0) == call->process, "waiting for a child");
    return call->result;
}

/* Blocks such a call in a new queue, full for those that send. */
struct call *blocked_call(enum verb verb, const struct timespec *deadline, void (*way)(struct call *))
{
    mqd_t queue = create(0, 0, 2, 64);
    if (is_send(verb))
        fill(queue);
    struct call *call = new_call(verb, queue);
    call->deadline = deadline;
    way(call);
    until_blocked(call);
    return call;
}

/* Does the other half. */
void release_call(struct call *call)
{
    if (is_send(call->verb))
        take(call->queue);
    else
        put(call->queue, "news", 2);
}

void finish_call(struct call *call)
{
    mq_close(call->queue);
    mq_unlink(name_of(0));
}

void label(char *text, enum verb verb, const char *what)
{
    sprintf(text, "%s.%s", verb_names[verb], what);
}

/* ---- processes ---- */

pid_t start(void (*part)(void))
{
    fflush(stdout);
    pid_t child = fork();
    must(child >= 0, "fork");
    if (child == 0) {
        part();
        fflush(stdout);
        _exit(0);
    }
    return child;
}

const char *end_of(pid_t child)
{
    static char texts[4][32];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    int status;
    must(waitpid(child, &status, 0) == child, "waiting for a child");
    if (WIFSIGNALED(status))
        snprintf(text, sizeof texts[0], "signal %s", sigabbrev_np(WTERMSIG(status)));
    else
        snprintf(text, sizeof texts[0], "exit %d", WEXITSTATUS(status));
    return text;
}

void run(void (*part)(void))
{
    must(strcmp(end_of(start(part)), "exit 0") == 0, "a child failed");
}

int is_root(void)
{
    return geteuid() == 0;
}

void become(uid_t user)
{
    must(setgid(user) == 0 && setuid(user) == 0, "becoming another user");
    /* Else /proc is closed to those who want to see it sleep. */
    must(prctl(PR_SET_DUMPABLE, 1) == 0, "prctl");
}

uid_t lonely(void)
{
    return 100000 + (uid_t)getpid() % 1000000;
}

void exec_part(const char *part, int descriptor)
{
    char number[16];
    snprintf(number, sizeof number, "%d", descriptor);
    fflush(stdout);
    execl("/proc/self/exe", "conformance", "--part", part, number, (char *)NULL);
    die("exec");
}
