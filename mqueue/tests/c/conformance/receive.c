/* mq_receive and mq_timedreceive: rows R1 to R15 without R6 and R14, which are in signals.c. */
#include "common.h"

static void r1(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 5, 64);
    put(queue, "a", 1);
    put(queue, "b", 7);
    put(queue, "c", 7);
    fact("first", "%s", take(queue));
    fact("left", "%ld", held(queue));
    put(queue, "d", 7);
    put(queue, "e", 8);
    fact("then", "%s", drain(queue));
    fact("empty", "%s", take(queue));
}

/* What receiving into a buffer of this size says. */
static const char *take_into(mqd_t queue, size_t size)
{
    static char text[4][32];
    static unsigned turn;
    char bytes[64], *said = text[turn++ % 4];
    unsigned priority;
    ssize_t length = mq_receive(queue, bytes, size, &priority);
    if (length < 0)
        return errno_name(errno);
    snprintf(said, sizeof text[0], "%zd bytes", length);
    return said;
}

static void r2(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 8), writer = open_again(0, O_WRONLY), waiting = open_again(0, O_RDWR);
    fact("empty", "%s", take_into(queue, 7));
    fact("empty.blocking", "%s", take_into(waiting, 7));
    put(queue, "x", 1);
    fact("size 7", "%s", take_into(queue, 7));
    fact("size 0", "%s", take_into(queue, 0));
    fact("timed", "%s", outcome(mq_timedreceive(queue, (char[7]){0}, 7, NULL, &long_ago)));
    fact("write_only", "%s", take_into(writer, 7));
    fact("size 8", "%s", take_into(queue, 8));
}

static void r3(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 5, 8);
    char bytes[9];
    unsigned priority = 77;
    put(queue, "12345678", 3);
    put(queue, "abc", 2);
    put(queue, "", 1);
    memset(bytes, '-', sizeof bytes);
    ssize_t length = mq_receive(queue, bytes, 9, &priority);
    fact("full", "%zd with %u: %.9s", length, priority, bytes);
    memset(bytes, '-', sizeof bytes);
    length = mq_receive(queue, bytes, 9, NULL);
    fact("no_priority", "%zd: %.9s", length, bytes);
    memset(bytes, '-', sizeof bytes);
    length = mq_timedreceive(queue, bytes, 9, &priority, &long_ago);
    fact("length_0", "%zd with %u: %.9s", length, priority, bytes);
    priority = 77;
    length = mq_receive(queue, bytes, 9, &priority);
    fact("failing", "%zd, priority still %u", length, priority);
}

/* A receiver blocked on an empty queue, in this way. */
static void blocked_receiver(const char *name, void (*way)(struct call *), enum verb verb, const struct timespec *deadline)
{
    mqd_t queue = create(0, 0, 2, 64);
    struct call *receiver = new_call(verb, queue);
    receiver->deadline = deadline;
    way(receiver);
    until_blocked(receiver);
    const char *sent = put(queue, "news", 6), *got = result(receiver);
    fact(name, "send %s; received %s; left %ld", sent, got, held(queue));
    mq_close(queue);
    mq_unlink(name_of(0));
}

static void r4(void)
{
    static const struct timespec last = {.tv_sec = LONG_MAX, .tv_nsec = 999999999};
    struct timespec late = in_ms(60000);
    blocked_receiver("thread", in_thread, RECEIVE, NULL);
    blocked_receiver("process", in_process, RECEIVE, NULL);
    blocked_receiver("thread.timed", in_thread, TIMEDRECEIVE, &late);
    blocked_receiver("process.timed", in_process, TIMEDRECEIVE, &late);
    blocked_receiver("last", in_thread, TIMEDRECEIVE, &last);
    blocked_receiver("null", in_thread, TIMEDRECEIVE, NULL);
}

static void r5(void)
{
    struct timespec late = in_ms(60000);
    mqd_t queue = create(0, O_NONBLOCK, 2, 8);
    char bytes[8];
    fact("receive", "%s", take(queue));
    fact("timedreceive", "%s", outcome(mq_timedreceive(queue, bytes, 8, NULL, &late)));
    fact("timedreceive.passed", "%s", outcome(mq_timedreceive(queue, bytes, 8, NULL, &long_ago)));
}

static void r7(void)
{
    mqd_t queue = create(0, 0, 2, 64), writer = open_again(0, O_WRONLY), closed = open_again(0, O_RDWR);
    int ends[2];
    must(pipe(ends) == 0 && write(ends[1], "x", 1) == 1, "pipe");
    mq_close(closed);
    put(queue, "there", 1);
    fact("minus_one", "%s", take((mqd_t)-1));
    fact("closed", "%s", take(closed));
    fact("write_only", "%s", take(writer));
    fact("pipe", "%s", take(ends[0]));
    fact("file", "%s", take(open("/dev/zero", O_RDWR)));
    struct timespec late = in_ms(60000);
    fact("timed.minus_one", "%s", outcome(mq_timedreceive((mqd_t)-1, (char[64]){0}, 64, NULL, &late)));
    fact("timed.write_only", "%s", outcome(mq_timedreceive(writer, (char[64]){0}, 64, NULL, &late)));
    fact("content", "%s", drain(queue));
}

static void r8(void)
{
    mqd_t queue = create(0, 0, 2, 64);
    char bytes[64];
    fact("long_ago", "%s", outcome(mq_timedreceive(queue, bytes, sizeof bytes, NULL, &long_ago)));
    struct timespec soon = in_ms(50);
    fact("soon", "%s", outcome(mq_timedreceive(queue, bytes, sizeof bytes, NULL, &soon)));
    fact("soon.not_before", "%s", passed(&soon) ? "yes" : "no");
    put(queue, "later", 1);
    fact("content", "%s", drain(queue));
}

static void r9(void)
{
    mqd_t queue = create(0, 0, 2, 64);
    char bytes[64];
    unsigned priority;
    put(queue, "there", 5);
    put(queue, "too", 4);
    ssize_t length = mq_timedreceive(queue, bytes, sizeof bytes, &priority, &long_ago);
    fact("first", "%zd with %u", length, priority);
    length = mq_timedreceive(queue, bytes, sizeof bytes, &priority, &(struct timespec){0});
    fact("second", "%zd with %u", length, priority);
    fact("third", "%s", outcome(mq_timedreceive(queue, bytes, sizeof bytes, &priority, &long_ago)));
}

static void r10(void)
{
    static const struct {
        const char *name;
        struct timespec time;
    } invalid[] = {
        {"nanoseconds -1", {.tv_sec = 1, .tv_nsec = -1}},
        {"nanoseconds 1000000000", {.tv_sec = 99999999999, .tv_nsec = 1000000000}},
        {"seconds -1", {.tv_sec = -1}},
    };
    mqd_t queue = create(0, 0, 2, 64), other = open_again(0, O_RDWR | O_NONBLOCK), writer = open_again(0, O_WRONLY);
    char bytes[64];
    for (int there = 0; there < 2; there++) {
        for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
            char name[64];
            snprintf(name, sizeof name, "%s, %s", there ? "message there" : "empty", invalid[i].name);
            fact(name, "%s", outcome(mq_timedreceive(queue, bytes, sizeof bytes, NULL, &invalid[i].time)));
        }
        fact(there ? "message there, nonblock" : "empty, nonblock", "%s",
             outcome(mq_timedreceive(other, bytes, sizeof bytes, NULL, &invalid[0].time)));
        put(queue, "there", 1);
    }
    fact("write_only", "%s", outcome(mq_timedreceive(writer, bytes, sizeof bytes, NULL, &invalid[0].time)));
    fact("bad_descriptor", "%s", outcome(mq_timedreceive((mqd_t)-1, bytes, sizeof bytes, NULL, &invalid[0].time)));
    fact("small_buffer", "%s", outcome(mq_timedreceive(queue, bytes, 1, NULL, &invalid[0].time)));
    fact("left", "%ld", held(queue));
}

/* Receivers of these nice values block in this order on an empty queue; then three messages come. */
static void served(const char *name, const int nice[3])
{
    mqd_t queue = create(0, 0, 3, 64);
    struct call *receivers[3];
    for (int i = 0; i < 3; i++) {
        receivers[i] = new_call(RECEIVE, queue);
        receivers[i]->nice = nice[i];
        in_thread(receivers[i]);
        until_blocked(receivers[i]);
    }
    /* The next is sent when somebody has come back with the one before. */
    for (int i = 1; i <= 3; i++) {
        char text[2] = {(char)('0' + i), '\0'};
        must(strcmp(put(queue, text, 1), "ok") == 0, "sending");
        struct timespec net = in_ms(NET * 1000);
        while (receivers[0]->done + receivers[1]->done + receivers[2]->done < i)
            must(!passed(&net), "no receiver came back");
    }
    const char *got[3];
    for (int i = 0; i < 3; i++)
        got[i] = result(receivers[i]);
    fact(name, "first %s, second %s, third %s", got[0], got[1], got[2]);
    mq_close(queue);
    mq_unlink(name_of(0));
}

/* Whether who comes later takes the message of one that waits. */
static int robbed_receivers(void)
{
    int robbed = 0;
    mqd_t queue = create(0, 0, 3, 64), impatient = open_again(0, O_RDWR | O_NONBLOCK);
    for (int round = 0; round < 50; round++) {
        struct call *receiver = new_call(RECEIVE, queue);
        in_process(receiver);
        until_blocked(receiver);
        put(impatient, "theirs", 1);
        if (strcmp(take(impatient), "EAGAIN") != 0) {
            robbed++;
            put(impatient, "theirs", 1);
        }
        must(strcmp(result(receiver), "theirs/1") == 0, "a blocked receiver");
        drain(queue);
    }
    mq_close(queue);
    mq_unlink(name_of(0));
    return robbed;
}

static void r11(void)
{
    fact("robbed", "%d of 50", robbed_receivers());
    served("equal", (int[]){0, 0, 0});
    served("nice 15 10 5", (int[]){15, 10, 5});
    served("nice 5 10 5", (int[]){5, 10, 5});
}

static void r12(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 10, 64);
    unsigned seed = 1, wrong = 0, received = 0;
    char out[64], in[64];
    for (int round = 0; round < 500; round++) {
        for (int i = 0; i < 10; i++) {
            seed = seed * 1103515245 + 12345;
            unsigned priority = seed >> 17, length = seed >> 8 & 63;
            memset(out, (int)(priority & 255), sizeof out);
            wrong += mq_send(queue, out, length, priority) != 0;
        }
        unsigned last = UINT_MAX, priority;
        ssize_t length;
        while ((length = mq_receive(queue, in, sizeof in, &priority)) >= 0) {
            for (ssize_t i = 0; i < length; i++)
                wrong += (unsigned char)in[i] != (priority & 255);
            wrong += priority > last;
            last = priority;
            received++;
        }
        wrong += errno != EAGAIN;
    }
    fact("received", "%u of 5000", received);
    fact("wrong", "%u", wrong);
}

static void r13(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 3, 8), writer = open_again(0, O_WRONLY);
    put(queue, "low", 1);
    put(queue, "high", 9);
    take_into(queue, 7);
    take_into(writer, 8);
    mq_timedreceive(queue, (char[8]){0}, 8, NULL, &(struct timespec){.tv_nsec = -1});
    mq_timedreceive(queue, (char[8]){0}, 4, NULL, &long_ago);
    fact("attributes", "%s", attributes(queue));
    fact("content", "%s", drain(queue));
}

static void r15(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 3, 8);
    volatile size_t most = SIZE_MAX, beyond = (size_t)SSIZE_MAX + 1;
    char bytes[8];
    put(queue, "abc", 1);
    put(queue, "de", 1);
    fact("SIZE_MAX", "%zd", mq_receive(queue, bytes, most, NULL));
    fact("SSIZE_MAX + 1", "%zd", mq_receive(queue, bytes, beyond, NULL));
    fact("empty", "%s", outcome(mq_receive(queue, bytes, most, NULL)));
}

const struct row receive_rows[] = {
    {"R1", r1},   {"R2", r2},   {"R3", r3},   {"R4", r4},   {"R5", r5},   {"R7", r7},   {"R8", r8},
    {"R9", r9},   {"R10", r10}, {"R11", r11}, {"R12", r12}, {"R13", r13}, {"R15", r15}, {NULL, NULL},
};
