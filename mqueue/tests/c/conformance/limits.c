/* Limits and constants: rows O11, O17, O18, F9, F10, F11. */
#include "common.h"

static void o11_as_nobody(void)
{
    become(lonely());
    fact("max 10", "%s", try_create(name_of(0), O_RDWR | O_EXCL, 0600, 10, 8));
    fact("size 8192", "%s", try_create(name_of(1), O_RDWR | O_EXCL, 0600, 1, 8192));
    fact("max 11", "%s", try_create(name_of(2), O_RDWR | O_EXCL, 0600, 11, 8));
    fact("size 8193", "%s", try_create(name_of(3), O_RDWR | O_EXCL, 0600, 1, 8193));
    mqd_t many = mq_open(name_of(4), O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600,
                         &(struct mq_attr){.mq_maxmsg = 100000, .mq_msgsize = 8});
    fact("max 100000", "%s", outcome(many));
    if (many != (mqd_t)-1) {
        long sent = 0;
        while (mq_send(many, "x", 1, (unsigned)(sent % 100)) == 0)
            sent++;
        fact("max 100000.full", "%s after %ld, %s", errno_name(errno), sent, attributes(many));
    }
    mqd_t large = mq_open(name_of(5), O_RDWR | O_CREAT | O_EXCL, 0600,
                          &(struct mq_attr){.mq_maxmsg = 2, .mq_msgsize = 1 << 20});
    fact("size 1048576", "%s", outcome(large));
    if (large != (mqd_t)-1) {
        static char out[1 << 20], in[1 << 20];
        memset(out, 'm', sizeof out);
        fact("size 1048576.send", "%s", outcome(mq_send(large, out, sizeof out, 3)));
        fact("size 1048576.receive", "%zd", mq_receive(large, in, sizeof in, NULL));
        fact("size 1048576.intact", "%s", memcmp(out, in, sizeof out) == 0 ? "yes" : "no");
    }
    fact("all too large", "%s", try_create(name_of(6), O_RDWR, 0600, LONG_MAX, LONG_MAX));
    for (int number = 0; number < 7; number++)
        mq_unlink(name_of(number));
}

static void o11(void)
{
    if (!is_root())
        skip("max 10", "becoming a user without other queues needs root");
    else
        run(o11_as_nobody);
}

static void o17_queues(void)
{
    int count = 0;
    become(lonely());
    char name[128];
    errno = 0;
    for (; count < 30; count++) {
        snprintf(name, sizeof name, "%s-%d", name_of(0), count);
        if (mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL) == (mqd_t)-1)
            break;
    }
    fact("default_queues", "%d, then %s", count, count == 30 ? "enough" : errno_name(errno));
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s-%d", name_of(0), i);
        must(mq_unlink(name) == 0, "unlinking one of many");
    }
}

static void o17(void)
{
    struct rlimit old, none;
    create(0, 0, 2, 8);
    must(getrlimit(RLIMIT_NOFILE, &old) == 0, "getrlimit");
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    must(setrlimit(RLIMIT_NOFILE, &none) == 0, "setrlimit");
    const char *opened = try_open(name_of(0), O_RDWR);
    const char *created_one = try_create(name_of(1), O_RDWR, 0600, 2, 8);
    must(setrlimit(RLIMIT_NOFILE, &old) == 0, "setrlimit");
    fact("no_descriptors.open", "%s", opened);
    fact("no_descriptors.create", "%s", created_one);
    fact("afterwards.open", "%s", try_open(name_of(0), O_RDWR));
    if (is_root())
        run(o17_queues);
    else
        skip("default_queues", "becoming a user without other queues needs root");
}

static void o18_queues(void)
{
    int count = 0;
    become(lonely());
    char name[128];
    for (; count < 300; count++) {
        snprintf(name, sizeof name, "%s-%d", name_of(0), count);
        mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &(struct mq_attr){.mq_maxmsg = 1, .mq_msgsize = 1});
        if (queue == (mqd_t)-1)
            break;
        mq_close(queue);
    }
    fact("queues", "%d, then %s", count, count == 300 ? "enough" : errno_name(errno));
    for (int i = 0; i < count; i++) {
        snprintf(name, sizeof name, "%s-%d", name_of(0), i);
        must(mq_unlink(name) == 0, "unlinking one of many");
    }
}

static void o18(void)
{
    if (is_root())
        run(o18_queues);
    else
        skip("queues", "a namespace without other queues needs root");
}

static long read_limit(const char *name)
{
    char path[64];
    long value = -1;
    snprintf(path, sizeof path, "/proc/sys/fs/mqueue/%s", name);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%ld", &value) != 1)
        value = -1;
    fclose(file);
    return value;
}

static int write_limit(const char *name, long value)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/sys/fs/mqueue/%s", name);
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return 0;
    fprintf(file, "%ld\n", value);
    return fclose(file) == 0;
}

static void lowered(void)
{
    become(lonely());
    fact("msg_max=5, 5", "%s", try_create(name_of(0), O_RDWR | O_EXCL, 0600, 5, 8));
    fact("msg_max=5, 6", "%s", try_create(name_of(1), O_RDWR | O_EXCL, 0600, 6, 8));
    fact("msgsize_max=200, 200", "%s", try_create(name_of(2), O_RDWR | O_EXCL, 0600, 2, 200));
    fact("msgsize_max=200, 201", "%s", try_create(name_of(3), O_RDWR | O_EXCL, 0600, 2, 201));
    mqd_t queue = mq_open(name_of(4), O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
    fact("msg_default=3, msgsize_default=150", "%s", attributes(queue));
    for (int number = 0; number < 10; number++)
        mq_unlink(name_of(number));
}

static void few(void)
{
    become(lonely());
    const char *said[3];
    for (int number = 0; number < 3; number++)
        said[number] = try_create(name_of(number), O_RDWR | O_EXCL, 0600, 1, 8);
    fact("queues_max=2", "%s %s %s", said[0], said[1], said[2]);
    for (int number = 0; number < 3; number++)
        mq_unlink(name_of(number));
}

static void f9(void)
{
    static const char *const names[] = {"queues_max", "msg_max", "msgsize_max", "msg_default", "msgsize_default"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fact(names[i], "%ld", read_limit(names[i]));
    if (!is_root() || !write_limit("msg_default", 3)) {
        skip("msg_max=5", "limits of one's own need root and a namespace");
        return;
    }
    must(write_limit("msg_max", 5) && write_limit("msgsize_default", 150), "setting limits");
    must(write_limit("msgsize_max", 200), "setting limits");
    run(lowered);
    must(write_limit("msg_max", 10) && write_limit("queues_max", 2), "setting limits");
    run(few);
}

static const char *with_limit(rlim_t bytes, long maxmsg, long msgsize)
{
    struct rlimit limit = {.rlim_cur = bytes, .rlim_max = 819200};
    must(setrlimit(RLIMIT_MSGQUEUE, &limit) == 0, "setrlimit");
    const char *said = try_create(name_of(0), O_RDWR | O_EXCL, 0600, maxmsg, msgsize);
    mq_unlink(name_of(0));
    return said;
}

static void f10_as_nobody(void)
{
    become(lonely());
    fact("limit 640, 4 of 64", "%s", with_limit(640, 4, 64));
    fact("limit 639, 4 of 64", "%s", with_limit(639, 4, 64));
    fact("limit 97, 1 of 1", "%s", with_limit(97, 1, 1));
    fact("limit 96, 1 of 1", "%s", with_limit(96, 1, 1));
    fact("limit 0, 1 of 1", "%s", with_limit(0, 1, 1));
}

static void f10(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_MSGQUEUE, &limit) == 0, "getrlimit");
    fact("limit", "%ld", (long)limit.rlim_max);
    if (is_root())
        run(f10_as_nobody);
    else
        skip("limit 640, 4 of 64", "becoming a user without other queues needs root");
}

static void f11(void)
{
    fact("_SC_MQ_PRIO_MAX", "%ld", sysconf(_SC_MQ_PRIO_MAX));
    fact("_SC_MQ_OPEN_MAX", "%ld", sysconf(_SC_MQ_OPEN_MAX));
    fact("_SC_MESSAGE_PASSING", "%ld", sysconf(_SC_MESSAGE_PASSING));
    fact("_SC_SEM_NSEMS_MAX", "%ld", sysconf(_SC_SEM_NSEMS_MAX));
    fact("_SC_SEM_VALUE_MAX", "%ld", sysconf(_SC_SEM_VALUE_MAX));
    fact("_SC_SEMAPHORES", "%ld", sysconf(_SC_SEMAPHORES));
    fact("sizes", "mqd_t %zu, struct mq_attr %zu", sizeof(mqd_t), sizeof(struct mq_attr));
}

const struct row limits_rows[] = {
    {"O11", o11}, {"O17", o17}, {"O18", o18}, {"F9", f9}, {"F10", f10}, {"F11", f11}, {NULL, NULL},
};
