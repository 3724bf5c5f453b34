/* mq_open: rows O1 to O24, without O11, O17 and O18, which are in limits.c. */
#include "common.h"

/* In every build, not only in a fortified one. */
extern mqd_t __mq_open_2(const char *name, int flags);

static void o1(void)
{
    fact("open.no_slash", "%s", try_open("conf", O_RDWR));
    fact("create.no_slash", "%s", try_create("conf", O_RDWR, 0600, 2, 8));
    fact("open.empty", "%s", try_open("", O_RDWR));
    fact("create.empty", "%s", try_create("", O_RDWR, 0600, 2, 8));
}

static void o2(void)
{
    fact("open", "%s", try_open("/", O_RDWR));
    fact("create", "%s", try_create("/", O_RDWR, 0600, 2, 8));
}

static void o3(void)
{
    static const char *const names[] = {"/a/b", "//x", "/a/", "//", "/.", "/.."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[32];
        snprintf(name, sizeof name, "open.%s", names[i]);
        fact(name, "%s", try_open(names[i], O_RDWR));
        snprintf(name, sizeof name, "create.%s", names[i]);
        fact(name, "%s", try_create(names[i], O_RDWR, 0600, 2, 8));
    }
}

static void o4(void)
{
    char *name = malloc(6001);
    must(name != NULL, "malloc");
    static const int lengths[] = {255, 256, 5000, 6000 - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char what[32];
        int used = snprintf(name, 200, "%s-", name_of(0));
        memset(name + used, 'x', 6000 - (size_t)used);
        name[lengths[i] + 1] = '\0';
        snprintf(what, sizeof what, "create.%d", lengths[i]);
        fact(what, "%s", try_create(name, O_RDWR, 0600, 2, 8));
        snprintf(what, sizeof what, "open.%d", lengths[i]);
        fact(what, "%s", try_open(name, O_RDWR));
        snprintf(what, sizeof what, "unlink.%d", lengths[i]);
        fact(what, "%s", outcome(mq_unlink(name)));
    }
    free(name);
}

static void o5(void)
{
    fact("read", "%s", try_open(name_of(0), O_RDONLY));
    fact("write", "%s", try_open(name_of(0), O_WRONLY));
    fact("both", "%s", try_open(name_of(0), O_RDWR));
    fact("excl", "%s", try_open(name_of(0), O_RDWR | O_EXCL));
}

static void o6(void)
{
    mqd_t queue = create(0, 0, 3, 16);
    put(queue, "kept", 2);
    fact("other_attr", "%s", try_create(name_of(0), O_RDWR, 0777, 5, 32));
    fact("invalid_attr", "%s", try_create(name_of(0), O_RDWR, 0600, 0, -1));
    fact("huge_attr", "%s", try_create(name_of(0), O_RDWR, 0600, LONG_MAX, LONG_MAX));
    mqd_t again = mq_open(name_of(0), O_RDWR | O_CREAT, 0777, NULL);
    struct stat stat;
    fact("attributes", "%s", attributes(again));
    fact("mode", "%o", fstat(again, &stat) == 0 ? stat.st_mode & 07777 : 0);
    fact("content", "%s", drain(again));
}

enum { RACERS = 4, ROUNDS = 3000 };

static struct race {
    pthread_barrier_t barrier;
    _Atomic int created, refused, wrong;
} *race;

static void racer(void)
{
    struct mq_attr attr = {.mq_maxmsg = RACERS, .mq_msgsize = 8};
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&race->barrier);
        mqd_t queue = mq_open(name_of(1), O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
        if (queue != (mqd_t)-1 && mq_send(queue, "x", 1, 0) == 0 && mq_close(queue) == 0)
            race->created++;
        else if (queue == (mqd_t)-1 && errno == EEXIST)
            race->refused++;
        /* One of them looks after it when all have tried. */
        if (pthread_barrier_wait(&race->barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
            queue = open_again(1, O_RDWR);
            race->wrong += held(queue) != 1;
            mq_close(queue);
            mq_unlink(name_of(1));
        }
    }
}

static void o7(void)
{
    create(0, 0, 2, 8);
    fact("excl", "%s", try_create(name_of(0), O_RDWR | O_EXCL, 0600, 2, 8));
    fact("excl.invalid_attr", "%s", try_create(name_of(0), O_RDWR | O_EXCL, 0600, 0, 0));
    fact("excl_without_creat", "%s", try_open(name_of(0), O_RDWR | O_EXCL));
    pid_t racers[RACERS];
    pthread_barrierattr_t shared_by_processes;
    race = shared(sizeof *race);
    pthread_barrierattr_init(&shared_by_processes);
    pthread_barrierattr_setpshared(&shared_by_processes, PTHREAD_PROCESS_SHARED);
    must(pthread_barrier_init(&race->barrier, &shared_by_processes, RACERS) == 0, "a barrier");
    for (int i = 0; i < RACERS; i++)
        racers[i] = start(racer);
    for (int i = 0; i < RACERS; i++)
        must(strcmp(end_of(racers[i]), "exit 0") == 0, "a racer failed");
    fact("race", "%d rounds of %d: %d created, %d EEXIST, %d wrong", ROUNDS, RACERS, race->created, race->refused, race->wrong);
}

static void o8(void)
{
    mqd_t queue = mq_open(name_of(0), O_RDWR | O_CREAT, 0600, NULL);
    fact("attributes", "%s", attributes(queue));
}

static void o9(void)
{
    struct mq_attr attr = {.mq_flags = O_NONBLOCK, .mq_maxmsg = 2, .mq_msgsize = 8, .mq_curmsgs = 7};
    mqd_t queue = mq_open(name_of(0), O_RDWR | O_CREAT, 0600, &attr);
    fact("attributes", "%s", attributes(queue));
    attr.mq_flags = -1;
    queue = mq_open(name_of(1), O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attr);
    fact("attributes.nonblock", "%s", attributes(queue));
    fact("attr.afterwards", "flags %ld messages %ld", attr.mq_flags, attr.mq_curmsgs);
}

static void o10(void)
{
    static const long sizes[][2] = {{0, 8}, {-1, 8}, {2, 0}, {2, -1}, {0, 0}, {LONG_MIN, LONG_MIN}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[64];
        snprintf(name, sizeof name, "max %ld size %ld", sizes[i][0], sizes[i][1]);
        fact(name, "%s", try_create(name_of(0), O_RDWR, 0600, sizes[i][0], sizes[i][1]));
    }
    fact("afterwards", "%s", try_open(name_of(0), O_RDWR));
}

static void show_mode(const char *name, int number, mode_t mask, mode_t mode)
{
    struct stat stat;
    umask(mask);
    mqd_t queue = mq_open(name_of(number), O_RDWR | O_CREAT, mode, &(struct mq_attr){.mq_maxmsg = 2, .mq_msgsize = 8});
    umask(022);
    must(queue != (mqd_t)-1 && fstat(queue, &stat) == 0, "a queue with a mode");
    fact(name, "%04o", stat.st_mode & 07777);
}

static void owner(void)
{
    struct stat stat;
    must(setegid(STRANGER) == 0 && seteuid(STRANGER) == 0, "another effective user");
    mqd_t queue = create(9, 0, 2, 8);
    must(fstat(queue, &stat) == 0, "fstat");
    fact("owner", "%u:%u", stat.st_uid, stat.st_gid);
    mq_unlink(name_of(9));
}

static void o12(void)
{
    show_mode("0777 & ~027", 0, 027, 0777);
    show_mode("0666 & ~022", 1, 022, 0666);
    show_mode("0600 & ~077", 2, 077, 0600);
    show_mode("0777 & ~0", 3, 0, 0777);
    show_mode("0 & ~0", 4, 0, 0);
    if (is_root())
        run(owner);
    else
        skip("owner", "another effective user needs root");
}

static const mode_t modes[] = {0600, 0604, 0602, 0606, 0607, 0660};

static void stranger_opens(void)
{
    become(STRANGER);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char name[32];
        snprintf(name, sizeof name, "mode %04o", modes[i]);
        const char *read = try_open(name_of((int)i), O_RDONLY), *write = try_open(name_of((int)i), O_WRONLY);
        const char *both = try_open(name_of((int)i), O_RDWR);
        const char *creat = try_create(name_of((int)i), O_RDWR, 0600, 2, 8);
        fact(name, "read %s, write %s, both %s, creat %s", read, write, both, creat);
    }
}

static void o13(void)
{
    if (!is_root()) {
        skip("mode 0600", "another user needs root");
        return;
    }
    umask(0);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        must(strcmp(try_create(name_of((int)i), O_RDWR | O_EXCL, modes[i], 2, 8), "ok") == 0, "creating");
    run(stranger_opens);
}

static void o14(void)
{
    create(0, 0, 2, 64);
    fact("open", "%s", try_open(name_of(0), 3));
    fact("open.creat", "%s", try_create(name_of(0), 3, 0600, 2, 8));
    mqd_t queue = mq_open(name_of(1), 3 | O_CREAT, 0600, &(struct mq_attr){.mq_maxmsg = 2, .mq_msgsize = 64});
    fact("create", "%s", outcome(queue));
    fact("create.send", "%s", put(queue, "x", 0));
    fact("create.receive", "%s", take(queue));
    fact("create.attributes", "%s", attributes(queue));
}

static void o15(void)
{
    mqd_t both = create(0, O_NONBLOCK, 2, 64);
    put(both, "there", 4);
    mqd_t reader = open_again(0, O_RDONLY), writer = open_again(0, O_WRONLY);
    fact("reader.send", "%s", put(reader, "x", 0));
    fact("reader.timedsend", "%s", outcome(mq_timedsend(reader, "x", 1, 0, &long_ago)));
    fact("writer.receive", "%s", take(writer));
    fact("writer.timedreceive", "%s", outcome(mq_timedreceive(writer, (char[64]){0}, 64, NULL, &long_ago)));
    fact("writer.send", "%s", put(writer, "more", 3));
    fact("reader.receive", "%s", take(reader));
    fact("reader.receive.next", "%s", take(reader));
}

static mqd_t inherited;

static void switch_off(void)
{
    mq_setattr(inherited, &(struct mq_attr){.mq_flags = 0}, NULL);
}

static void o16(void)
{
    mqd_t first = create(0, O_NONBLOCK, 2, 64), second = open_again(0, O_RDWR), third = open_again(0, O_RDWR | O_NONBLOCK);
    int copy = dup(first);
    fact("created_with", "%s", attributes(first));
    fact("opened_without", "%s", attributes(second));
    fact("opened_with", "%s", attributes(third));
    fact("dup", "%s", attributes(copy));
    mq_setattr(copy, &(struct mq_attr){.mq_flags = 0}, NULL);
    fact("after_dup_cleared_it", "%s", attributes(first));
    inherited = third;
    run(switch_off);
    fact("after_fork_child_cleared_it", "%s", attributes(third));
    fact("the_others", "%s, %s", attributes(first), attributes(second));
}

static volatile sig_atomic_t ticks;

static void tick(int signal)
{
    (void)signal;
    ticks++;
}

static void o19(void)
{
    struct sigaction action = {.sa_handler = tick};
    sigaction(SIGALRM, &action, NULL);
    timer_t timer;
    struct itimerspec often = {.it_interval.tv_nsec = 200000, .it_value.tv_nsec = 200000};
    must(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0, "a timer");
    const char *worst = "ok";
    int calls = 0;
    while (ticks < 100) {
        const char *made = try_create(name_of(0), O_RDWR | O_EXCL, 0600, 2, 8), *opened = try_open(name_of(0), O_RDONLY);
        const char *unlinked = outcome(mq_unlink(name_of(0))), *said[] = {made, opened, unlinked};
        for (int i = 0; i < 3; i++, calls++)
            if (strcmp(said[i], "ok") != 0)
                worst = said[i];
    }
    timer_delete(timer);
    fact("under_signals", "%s", calls < 3 ? "no calls" : worst);
}

static void o20(void)
{
    mqd_t queue = create(0, 0, 4, 64);
    put(queue, "a", 1);
    put(queue, "b", 2);
    static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_TRUNC, O_RDWR | O_APPEND};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        try_open(name_of(0), flags[i]);
    try_create(name_of(0), O_RDWR, 0600, 1, 1);
    fact("attributes", "%s", attributes(queue));
    fact("content", "%s", drain(queue));
}

static void o21(void)
{
    mqd_t plain = create(0, 0, 2, 8), with = open_again(0, O_RDWR | O_CLOEXEC);
    fact("without", "%s", fcntl(plain, F_GETFD) & FD_CLOEXEC ? "close-on-exec" : "stays");
    fact("with", "%s", fcntl(with, F_GETFD) & FD_CLOEXEC ? "close-on-exec" : "stays");
}

static void o22(void)
{
    fact("missing", "%d", mq_open(name_of(0), O_RDWR));
    fact("name", "%d", mq_open("x", O_RDWR));
    fact("attr", "%d", mq_open(name_of(0), O_RDWR | O_CREAT, 0600, &(struct mq_attr){0}));
    fact("success", "%s", create(0, 0, 2, 8) >= 0 ? "not negative" : "negative");
}

static void forbidden(void)
{
    int null = open("/dev/null", O_WRONLY);
    dup2(null, 2);
    __mq_open_2(name_of(1), O_RDWR | O_CREAT);
}

static void o23(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 64);
    put(queue, "there", 1);
    put(queue, "too", 1);
    volatile int flags = O_RDWR | O_NONBLOCK;
    mqd_t called = __mq_open_2(name_of(0), flags), chosen = mq_open(name_of(0), flags);
    fact("__mq_open_2", "%s", take(called));
    fact("mq_open", "%s", take(chosen));
    fact("missing", "%s", outcome(__mq_open_2(name_of(1), flags)));
    pid_t child = start(forbidden);
    fact("with_creat", "%s", end_of(child));
    fact("with_creat.afterwards", "%s", try_open(name_of(1), O_RDWR));
}

static void leaves_one(void)
{
    put(create(0, 0, 3, 64), "first", 1);
    put(open_again(0, O_WRONLY), "second", 2);
}

static void o24(void)
{
    run(leaves_one);
    mqd_t queue = open_again(0, O_RDWR);
    fact("attributes", "%s", attributes(queue));
    fact("content", "%s", drain(queue));
    mq_close(queue);
    queue = open_again(0, O_RDWR);
    fact("after_all_have_closed_it", "%s", attributes(queue));
}

const struct row open_rows[] = {
    {"O1", o1},   {"O2", o2},   {"O3", o3},   {"O4", o4},   {"O5", o5},   {"O6", o6},   {"O7", o7},
    {"O8", o8},   {"O9", o9},   {"O10", o10}, {"O12", o12}, {"O13", o13}, {"O14", o14},
    {"O15", o15}, {"O16", o16}, {"O19", o19}, {"O20", o20}, {"O21", o21},
    {"O22", o22}, {"O23", o23}, {"O24", o24}, {NULL, NULL},
};
