/* See common.h: facts, queues, time, notifications. */
#include "common.h"
#include <stdarg.h>

void fact(const char *name, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("%s=", name);
    vprintf(format, list);
    puts("");
    fflush(stdout);
    va_end(list);
}

void skip(const char *name, const char *reason)
{
    fact(name, "(skipped: %s)", reason);
}

void die(const char *what)
{
    fflush(stdout);
    fprintf(stderr, "conformance: %s (errno %s)\n", what, errno_name(errno));
    _exit(2);
}

void must(int holds, const char *what)
{
    if (!holds)
        die(what);
}

const char *errno_name(int error)
{
    const char *name = strerrorname_np(error);
    return name == NULL ? "unknown" : name;
}

const char *outcome(long result)
{
    return result == -1 ? errno_name(errno) : "ok";
}

/* ---- queues ---- */

const char *name_of(int number)
{
    static char names[10][128];
    const char *tag = getenv("CONFORMANCE_TAG");
    snprintf(names[number], sizeof names[number], "/conf-%s-%d", tag == NULL ? "alone" : tag, number);
    return names[number];
}

mqd_t create(int number, int flags, long maxmsg, long msgsize)
{
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};
    mqd_t queue = mq_open(name_of(number), O_RDWR | O_CREAT | O_EXCL | flags, 0600, &attr);
    must(queue != (mqd_t)-1, "creating a queue");
    return queue;
}

const char *try_create(const char *name, int flags, mode_t mode, long maxmsg, long msgsize)
{
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = msgsize};
    mqd_t queue = mq_open(name, flags | O_CREAT, mode, &attr);
    const char *said = outcome(queue);
    if (queue != (mqd_t)-1)
        mq_close(queue);
    return said;
}

const char *try_open(const char *name, int flags)
{
    mqd_t queue = mq_open(name, flags);
    const char *said = outcome(queue);
    if (queue != (mqd_t)-1)
        mq_close(queue);
    return said;
}

mqd_t open_again(int number, int flags)
{
    mqd_t queue = mq_open(name_of(number), flags);
    must(queue != (mqd_t)-1, "opening a queue");
    return queue;
}

const char *put(mqd_t queue, const char *text, unsigned priority)
{
    return outcome(mq_send(queue, text, strlen(text), priority));
}

const char *take(mqd_t queue)
{
    static _Thread_local char texts[8][64], bytes[16384];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 8];
    unsigned priority = 77;
    ssize_t length = mq_receive(queue, bytes, sizeof bytes, &priority);
    if (length < 0)
        return errno_name(errno);
    snprintf(text, sizeof texts[0], "%.*s/%u", (int)length, bytes, priority);
    return text;
}

long held(mqd_t queue)
{
    struct mq_attr attr;
    return mq_getattr(queue, &attr) == 0 ? attr.mq_curmsgs : -1;
}

const char *drain(mqd_t queue)
{
    static char all[4][1024];
    static unsigned turn;
    char *text = all[turn++ % 4];
    size_t used = 0;
    strcpy(text, "nothing");
    while (held(queue) > 0 && used < sizeof all[0] - 80)
        used += (size_t)sprintf(text + used, used == 0 ? "%s" : " %s", take(queue));
    return text;
}

void fill(mqd_t queue)
{
    struct mq_attr attr;
    must(mq_getattr(queue, &attr) == 0, "attributes of a queue to fill");
    for (long there = attr.mq_curmsgs; there < attr.mq_maxmsg; there++)
        must(mq_send(queue, "old", 3, 1) == 0, "filling a queue");
}

const char *attributes(mqd_t queue)
{
    static char texts[4][128];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    struct mq_attr attr;
    if (mq_getattr(queue, &attr) != 0)
        return errno_name(errno);
    snprintf(text, sizeof texts[0], "max %ld size %ld flags %s messages %ld", attr.mq_maxmsg, attr.mq_msgsize,
             attr.mq_flags == 0            ? "none"
             : attr.mq_flags == O_NONBLOCK ? "O_NONBLOCK"
                                           : "others",
             attr.mq_curmsgs);
    return text;
}

/* ---- time ---- */

const struct timespec long_ago = {.tv_sec = 1};

struct timespec in_ms(long milliseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    long nanoseconds = time.tv_nsec + milliseconds % 1000 * 1000000;
    time.tv_sec += milliseconds / 1000 + nanoseconds / 1000000000;
    time.tv_nsec = nanoseconds % 1000000000;
    return time;
}

int passed(const struct timespec *deadline)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec > deadline->tv_sec || (now.tv_sec == deadline->tv_sec && now.tv_nsec >= deadline->tv_nsec);
}

/* ---- notifications ---- */

const char *notify(mqd_t queue, int value)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = NOTICE, .sigev_value.sival_int = value};
    return outcome(mq_notify(queue, &event));
}

static const char *next_notice(long seconds)
{
    static char texts[4][16];
    static unsigned turn;
    char *text = texts[turn++ % 4];
    struct timespec net = {.tv_sec = seconds};
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, NOTICE);
    int got;
    do
        got = sigtimedwait(&set, &info, &net);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return "none";
    snprintf(text, sizeof texts[0], "%d", info.si_value.sival_int);
    return text;
}

const char *notice(void)
{
    return next_notice(NET);
}

const char *notice_now(void)
{
    return next_notice(0);
}

void expect_notices(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, NOTICE);
    must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0, "blocking a signal");
}

static mqd_t asked_of;
static char (*answer)[32];

static void register_elsewhere(void)
{
    snprintf(*answer, sizeof *answer, "%s", notify(asked_of, 99));
}

const char *registration(mqd_t queue)
{
    answer = shared(sizeof *answer);
    asked_of = queue;
    run(register_elsewhere);
    return *answer;
}
