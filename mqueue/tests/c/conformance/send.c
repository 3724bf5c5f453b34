/* mq_send and mq_timedsend: rows S1 to S19 without S7 and S16, which are in signals.c. */
#include "common.h"

static void s1(void)
{
    static const struct {
        const char *text;
        unsigned priority;
    } sent[] = {{"a", 5}, {"b", 0}, {"c", 32767}, {"d", 5}, {"e", 0}, {"f", 31}, {"g", 32}, {"h", 5}, {"i", 32767}};
    mqd_t queue = create(0, O_NONBLOCK, 10, 64);
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++)
        must(strcmp(put(queue, sent[i].text, sent[i].priority), "ok") == 0, "sending");
    fact("order", "%s", drain(queue));
}

static void s2(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 64), reader = open_again(0, O_RDONLY);
    fact("32767", "%s", put(queue, "x", 32767));
    fact("32768", "%s", put(queue, "x", 32768));
    fact("UINT_MAX", "%s", put(queue, "x", UINT_MAX));
    fact("timed", "%s", outcome(mq_timedsend(queue, "x", 1, 32768, &long_ago)));
    fact("bad_descriptor", "%s", put((mqd_t)-1, "x", 32768));
    fact("read_only", "%s", put(reader, "x", 32768));
    fill(queue);
    fact("full", "%s", put(queue, "x", 32768));
    fact("content", "%s", drain(queue));
}

static void s3(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 4), reader = open_again(0, O_RDONLY);
    fact("all of it", "%s", put(queue, "1234", 1));
    fact("one more", "%s", put(queue, "12345", 1));
    volatile size_t most = SIZE_MAX;
    fact("SIZE_MAX", "%s", outcome(mq_send(queue, "1", most, 1)));
    fact("timed", "%s", outcome(mq_timedsend(queue, "12345", 5, 1, &long_ago)));
    fill(queue);
    fact("full", "%s", put(queue, "12345", 1));
    fact("read_only", "%s", put(reader, "12345", 1));
    fact("content", "%s", drain(queue));
}

static void s4(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 4);
    const char *volatile nothing = NULL;
    char bytes[4];
    unsigned priority;
    fact("empty", "%s", put(queue, "", 3));
    fact("null", "%s", outcome(mq_send(queue, nothing, 0, 2)));
    fact("attributes", "%s", attributes(queue));
    for (int i = 0; i < 2; i++) {
        ssize_t length = mq_receive(queue, bytes, sizeof bytes, &priority);
        fact("received", "%zd with %u", length, priority);
    }
}

/* A sender blocked on a full queue, in this way. */
static void blocked_sender(const char *name, void (*way)(struct call *), enum verb verb, const struct timespec *deadline)
{
    mqd_t queue = create(0, 0, 2, 64);
    fill(queue);
    struct call *sender = new_call(verb, queue);
    sender->deadline = deadline;
    way(sender);
    until_blocked(sender);
    long waiting = held(queue);
    const char *first = take(queue), *said = result(sender);
    fact(name, "blocked at %ld; %s taken; sender: %s; then %s", waiting, first, said, drain(queue));
    mq_close(queue);
    mq_unlink(name_of(0));
}

static void s5(void)
{
    struct timespec late = in_ms(60000);
    blocked_sender("thread", in_thread, SEND, NULL);
    blocked_sender("process", in_process, SEND, NULL);
    blocked_sender("thread.timed", in_thread, TIMEDSEND, &late);
    blocked_sender("process.timed", in_process, TIMEDSEND, &late);
}

static void s6(void)
{
    struct timespec late = in_ms(60000);
    mqd_t queue = create(0, O_NONBLOCK, 2, 64);
    fill(queue);
    fact("send", "%s", put(queue, "x", 9));
    fact("timedsend", "%s", outcome(mq_timedsend(queue, "x", 1, 9, &late)));
    fact("timedsend.passed", "%s", outcome(mq_timedsend(queue, "x", 1, 9, &long_ago)));
    fact("content", "%s", drain(queue));
}

static void s8(void)
{
    mqd_t queue = create(0, 0, 2, 64), reader = open_again(0, O_RDONLY), closed = open_again(0, O_RDWR);
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    mq_close(closed);
    fact("minus_one", "%s", put((mqd_t)-1, "x", 1));
    fact("closed", "%s", put(closed, "x", 1));
    fact("read_only", "%s", put(reader, "x", 1));
    fact("pipe", "%s", put(ends[1], "x", 1));
    fact("file", "%s", put(open("/dev/null", O_RDWR), "x", 1));
    struct timespec late = in_ms(60000);
    fact("timed.minus_one", "%s", outcome(mq_timedsend((mqd_t)-1, "x", 1, 1, &late)));
    fact("timed.read_only", "%s", outcome(mq_timedsend(reader, "x", 1, 1, &late)));
    fact("timed.pipe", "%s", outcome(mq_timedsend(ends[1], "x", 1, 1, &late)));
    fact("content", "%s", drain(queue));
}

static void s9(void)
{
    mqd_t queue = create(0, 0, 2, 64);
    fill(queue);
    fact("long_ago", "%s", outcome(mq_timedsend(queue, "x", 1, 9, &long_ago)));
    struct timespec soon = in_ms(50);
    fact("soon", "%s", outcome(mq_timedsend(queue, "x", 1, 9, &soon)));
    fact("soon.not_before", "%s", passed(&soon) ? "yes" : "no");
    fact("content", "%s", drain(queue));
}

static void s10(void)
{
    mqd_t queue = create(0, 0, 2, 64);
    fact("send", "%s", outcome(mq_timedsend(queue, "x", 1, 9, &long_ago)));
    fact("send.second", "%s", outcome(mq_timedsend(queue, "y", 1, 8, &(struct timespec){0})));
    fact("content", "%s", drain(queue));
}

static const struct {
    const char *name;
    struct timespec time;
} invalid[] = {
    {"nanoseconds -1", {.tv_sec = 1, .tv_nsec = -1}},
    {"nanoseconds 1000000000", {.tv_sec = 1, .tv_nsec = 1000000000}},
    {"nanoseconds 1000000000, far away", {.tv_sec = 99999999999, .tv_nsec = 1000000000}},
    {"seconds -1", {.tv_sec = -1}},
};

static void show_invalid(mqd_t queue)
{
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        fact(invalid[i].name, "%s", outcome(mq_timedsend(queue, "x", 1, 9, &invalid[i].time)));
}

static void s11(void)
{
    mqd_t queue = create(0, 0, 2, 4), other = open_again(0, O_RDWR | O_NONBLOCK), reader = open_again(0, O_RDONLY);
    fill(queue);
    show_invalid(queue);
    fact("nonblock", "%s", outcome(mq_timedsend(other, "x", 1, 9, &invalid[0].time)));
    fact("read_only", "%s", outcome(mq_timedsend(reader, "x", 1, 9, &invalid[0].time)));
    fact("bad_descriptor", "%s", outcome(mq_timedsend((mqd_t)-1, "x", 1, 9, &invalid[0].time)));
    fact("too_long", "%s", outcome(mq_timedsend(queue, "12345", 5, 9, &invalid[0].time)));
    fact("content", "%s", drain(queue));
}

static void s12(void)
{
    mqd_t queue = create(0, 0, 2, 64);
    show_invalid(queue);
    fact("attributes", "%s", attributes(queue));
}

static void s13(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 4), waiting = open_again(0, O_RDWR), reader = open_again(0, O_RDONLY);
    put(queue, "one", 1);
    put(queue, "12345", 9);
    put(queue, "x", 40000);
    put(reader, "x", 9);
    mq_timedsend(queue, "x", 1, 9, &invalid[1].time);
    fact("with_room", "%s", attributes(queue));
    put(queue, "two", 1);
    put(queue, "x", 9);
    mq_timedsend(waiting, "x", 1, 9, &long_ago);
    fact("full", "%s", attributes(queue));
    fact("content", "%s", drain(queue));
}

/* Senders of these nice values block in this order on a full queue; then it is emptied. */
static void served(const char *name, const int nice[3])
{
    static const char *const texts[] = {"first", "second", "third"};
    mqd_t queue = create(0, 0, 1, 64);
    fill(queue);
    struct call *senders[3];
    for (int i = 0; i < 3; i++) {
        senders[i] = new_call(SEND, queue);
        senders[i]->text = texts[i];
        senders[i]->nice = nice[i];
        in_thread(senders[i]);
        until_blocked(senders[i]);
    }
    const char *got[4];
    for (int i = 0; i < 4; i++)
        got[i] = take(queue);
    for (int i = 0; i < 3; i++)
        must(strcmp(result(senders[i]), "ok") == 0, "a blocked sender");
    fact(name, "%s %s %s %s", got[0], got[1], got[2], got[3]);
    mq_close(queue);
    mq_unlink(name_of(0));
}

/* Whether who comes later takes the room of one that waits. */
static int robbed_senders(void)
{
    int robbed = 0;
    mqd_t queue = create(0, 0, 1, 64), impatient = open_again(0, O_RDWR | O_NONBLOCK);
    for (int round = 0; round < 50; round++) {
        fill(queue);
        struct call *sender = new_call(SEND, queue);
        in_process(sender);
        until_blocked(sender);
        take(impatient);
        robbed += strcmp(put(impatient, "robber", 1), "EAGAIN") != 0;
        while (!sender->done)
            take(impatient);
        must(strcmp(result(sender), "ok") == 0, "a blocked sender");
        drain(queue);
    }
    mq_close(queue);
    mq_unlink(name_of(0));
    return robbed;
}

static void s14(void)
{
    fact("robbed", "%d of 50", robbed_senders());
    served("equal", (int[]){0, 0, 0});
    served("nice 15 10 5", (int[]){15, 10, 5});
    served("nice 5 10 5", (int[]){5, 10, 5});
}

static void s15(void)
{
    mqd_t queue = create(0, 0, 3, 64);
    put(queue, "five", 5);
    put(queue, "three", 3);
    put(queue, "one", 1);
    struct call *sender = new_call(SEND, queue);
    sender->text = "four";
    sender->priority = 4;
    in_process(sender);
    until_blocked(sender);
    const char *first = take(queue), *said = result(sender);
    fact("first", "%s", first);
    fact("sender", "%s", said);
    fact("then", "%s", drain(queue));
}

static void s17(void)
{
    static const struct timespec last = {.tv_sec = LONG_MAX, .tv_nsec = 999999999};
    static const struct timespec never = {.tv_sec = LONG_MAX};
    blocked_sender("last", in_thread, TIMEDSEND, &last);
    blocked_sender("never", in_process, TIMEDSEND, &never);
}

static void s18(void)
{
    blocked_sender("null", in_thread, TIMEDSEND, NULL);
    blocked_sender("null.process", in_process, TIMEDSEND, NULL);
}

static void s19(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 64);
    fact("send", "%d", mq_send(queue, "x", 1, 1));
    fact("timedsend", "%d", mq_timedsend(queue, "x", 1, 1, &long_ago));
    fact("send.full", "%d", mq_send(queue, "x", 1, 1));
    fact("timedsend.full", "%d", mq_timedsend(queue, "x", 1, 1, &long_ago));
}

const struct row send_rows[] = {
    {"S1", s1},   {"S2", s2},   {"S3", s3},   {"S4", s4},   {"S5", s5},   {"S6", s6},   {"S8", s8},   {"S9", s9},   {"S10", s10},
    {"S11", s11}, {"S12", s12}, {"S13", s13}, {"S14", s14}, {"S15", s15}, {"S17", s17}, {"S18", s18}, {"S19", s19}, {NULL, NULL},
};
