/* mq_getattr and mq_setattr: rows A1 to A7. */
#include "common.h"

static void a1(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 3, 16), other = open_again(0, O_RDONLY | O_CLOEXEC);
    fact("created", "%s", attributes(queue));
    fact("opened", "%s", attributes(other));
    put(queue, "a", 1);
    put(queue, "b", 2);
    fact("after_two", "%s", attributes(queue));
    take(queue);
    fact("after_one_is_taken", "%s", attributes(other));
}

static void a2(void)
{
    struct mq_attr attr = {0};
    mqd_t closed = create(0, 0, 2, 8);
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    mq_close(closed);
    const int bad[] = {-1, closed, ends[0], ends[1]};
    static const char *const names[] = {"minus_one", "closed", "pipe", "pipe.write"};
    for (int i = 0; i < 4; i++) {
        const char *got = outcome(mq_getattr(bad[i], &attr)), *set = outcome(mq_setattr(bad[i], &attr, NULL));
        fact(names[i], "get %s, set %s", got, set);
    }
}

static void a3(void)
{
    mqd_t queue = create(0, 0, 3, 64);
    put(queue, "a", 1);
    struct mq_attr attr = {.mq_flags = O_NONBLOCK, .mq_maxmsg = 9, .mq_msgsize = 99, .mq_curmsgs = 5};
    fact("set", "%s", outcome(mq_setattr(queue, &attr, NULL)));
    fact("now", "%s", attributes(queue));
    take(queue);
    fact("receive", "%s", take(queue));
    attr = (struct mq_attr){.mq_maxmsg = -1, .mq_msgsize = -1};
    fact("cleared", "%s", outcome(mq_setattr(queue, &attr, NULL)));
    fact("cleared.now", "%s", attributes(queue));
    struct call *receiver = new_call(RECEIVE, queue);
    in_thread(receiver);
    until_blocked(receiver);
    put(queue, "woken", 1);
    fact("receive.blocks", "%s", result(receiver));
}

static void a4(void)
{
    static const long others[] = {1, O_RDWR, O_APPEND, O_NONBLOCK | O_APPEND, O_CLOEXEC, -1, 1L << 40};
    mqd_t queue = create(0, 0, 3, 64);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct mq_attr attr = {.mq_flags = others[i]}, old = {.mq_maxmsg = 77};
        char name[32];
        snprintf(name, sizeof name, "flags %ld", others[i]);
        const char *said = outcome(mq_setattr(queue, &attr, &old));
        fact(name, "%s, old %ld", said, old.mq_maxmsg);
    }
    fact("now", "%s", attributes(queue));
}

static void a5(void)
{
    mqd_t queue = create(0, 0, 3, 16);
    struct mq_attr on = {.mq_flags = O_NONBLOCK}, off = {0}, old;
    put(queue, "a", 1);
    mq_setattr(queue, &on, &old);
    fact("first", "flags %ld max %ld size %ld messages %ld", old.mq_flags, old.mq_maxmsg, old.mq_msgsize,
         old.mq_curmsgs);
    mq_setattr(queue, &off, &old);
    fact("second", "flags %s max %ld", old.mq_flags == O_NONBLOCK ? "O_NONBLOCK" : "others", old.mq_maxmsg);
    fact("without", "%s", outcome(mq_setattr(queue, &off, NULL)));
    const struct mq_attr *volatile null = NULL;
    fact("null_new", "%s", outcome(mq_setattr(queue, null, &old)));
    fact("null_new.old", "flags %ld max %ld size %ld messages %ld", old.mq_flags, old.mq_maxmsg, old.mq_msgsize,
         old.mq_curmsgs);
}

static mqd_t inherited;

static void sets(void)
{
    mq_setattr(inherited, &(struct mq_attr){.mq_flags = O_NONBLOCK}, NULL);
}

static void sets_by_fcntl(void)
{
    fcntl(inherited, F_SETFL, 0);
}

static void a6(void)
{
    inherited = create(0, 0, 3, 64);
    mqd_t other = open_again(0, O_RDWR);
    run(sets);
    fact("child_set.parent", "%s", attributes(inherited));
    fact("child_set.other", "%s", attributes(other));
    fact("child_set.fcntl", "%s", fcntl(inherited, F_GETFL) & O_NONBLOCK ? "O_NONBLOCK" : "none");
    fact("child_set.receive", "%s", take(inherited));
    run(sets_by_fcntl);
    fact("child_cleared.parent", "%s", attributes(inherited));
    must(fcntl(other, F_SETFL, fcntl(other, F_GETFL) | O_NONBLOCK) == 0, "fcntl");
    fact("fcntl_set.other", "%s", attributes(other));
    fact("fcntl_set.parent", "%s", attributes(inherited));
    fact("fcntl_set.receive", "%s", take(other));
    fact("mode", "%d %d", fcntl(other, F_GETFL) & O_ACCMODE, fcntl(open_again(0, O_WRONLY), F_GETFL) & O_ACCMODE);
}

static void a7(void)
{
    mqd_t queue = create(0, 0, 3, 16);
    struct {
        struct mq_attr attr;
        unsigned char after[16];
    } big;
    memset(&big, 0xa5, sizeof big);
    mq_getattr(queue, &big.attr);
    const unsigned char *bytes = (const unsigned char *)&big;
    int zero = 0, kept = 0;
    for (size_t i = 32; i < 64; i++)
        zero += bytes[i] == 0;
    for (int i = 0; i < 16; i++)
        kept += big.after[i] == 0xa5;
    fact("size", "%zu", sizeof(struct mq_attr));
    fact("get", "%d reserved bytes zero, %d of 16 behind it kept", zero, kept);
    memset(&big, 0xa5, sizeof big);
    mq_setattr(queue, &(struct mq_attr){0}, &big.attr);
    zero = kept = 0;
    for (size_t i = 32; i < 64; i++)
        zero += bytes[i] == 0;
    for (int i = 0; i < 16; i++)
        kept += big.after[i] == 0xa5;
    fact("set", "%d reserved bytes zero, %d of 16 behind it kept", zero, kept);
}

const struct row attributes_rows[] = {
    {"A1", a1}, {"A2", a2}, {"A3", a3}, {"A4", a4}, {"A5", a5}, {"A6", a6}, {"A7", a7}, {NULL, NULL},
};
