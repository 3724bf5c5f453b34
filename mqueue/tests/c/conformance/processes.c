/* Processes: rows F1 to F3, and beyond the rows of the standard X1 to X3, many of them at once. */
#include "common.h"
#include <semaphore.h>

static mqd_t queue;
static sem_t *semaphore;

static void grandchild(void)
{
    put(queue, "from the grandchild", 2);
}

static void child_of_f1(void)
{
    fact("child.attributes", "%s", attributes(queue));
    fact("child.receive", "%s", take(queue));
    put(queue, "from the child", 3);
    run(grandchild);
    fact("child.registration", "%s", notify(queue, 2));
    sem_post(semaphore);
}

static void f1(void)
{
    int value = -1;
    expect_notices();
    semaphore = sem_open(name_of(0), O_CREAT | O_EXCL, 0600, 0);
    must(semaphore != SEM_FAILED, "sem_open");
    sem_unlink(name_of(0));
    queue = create(0, O_NONBLOCK, 4, 64);
    notify(queue, 1);
    put(queue, "to the child", 1);
    fact("notice", "%s", notice());
    notify(queue, 2);
    run(child_of_f1);
    fact("second.notice", "%s", notice());
    fact("content", "%s", drain(queue));
    sem_getvalue(semaphore, &value);
    fact("semaphore", "%d", value);
}

static void executes(void)
{
    exec_part("descriptor", queue);
}

static void f2(void)
{
    queue = create(0, O_NONBLOCK, 4, 64);
    put(queue, "kept", 1);
    run(executes);
    fact("content", "%s", drain(queue));
}

static void waits_for_ever(void)
{
    sem_wait(semaphore);
    put(queue, "from the victim", 3);
    /* The other process looks whether somebody is registered by trying it, and may have the place for a moment. */
    const char *registered = notify(queue, 9);
    while (strcmp(registered, "EBUSY") == 0)
        registered = notify(queue, 9);
    must(strcmp(registered, "ok") == 0, "registering");
    pause();
}

static void killed_while_blocked(enum verb verb)
{
    char name[64];
    struct call *call = new_call(verb, queue);
    if (is_send(verb))
        fill(queue);
    in_process(call);
    until_blocked(call);
    kill(call->process, SIGKILL);
    const char *end = end_of(call->process);
    long left = held(queue);
    snprintf(name, sizeof name, "%s.killed", verb_names[verb]);
    fact(name, "%s, left %ld", end, left);
    drain(queue);
    struct timespec soon = in_ms(50);
    char bytes[64];
    fact("nothing_comes_later", "%s", outcome(mq_timedreceive(queue, bytes, sizeof bytes, NULL, &soon)));
    put(queue, "next", 1);
    fact("next", "%s", drain(queue));
}

static void f3(void)
{
    int value = -1;
    semaphore = sem_open(name_of(0), O_CREAT | O_EXCL, 0600, 1);
    must(semaphore != SEM_FAILED, "sem_open");
    sem_unlink(name_of(0));
    queue = create(0, 0, 4, 64);
    put(queue, "mine", 5);
    pid_t victim = start(waits_for_ever);
    struct timespec net = in_ms(NET * 1000);
    while (held(queue) < 2 || strcmp(registration(queue), "EBUSY") != 0)
        must(!passed(&net), "the victim did not come so far");
    kill(victim, SIGKILL);
    fact("victim", "%s", end_of(victim));
    fact("registration", "%s", registration(queue));
    fact("content", "%s", drain(queue));
    sem_getvalue(semaphore, &value);
    fact("semaphore", "%d", value);
    killed_while_blocked(RECEIVE);
    killed_while_blocked(SEND);
}

/* ---- a hundred processes on one queue ---- */

enum { SENDERS = 50, RECEIVERS = 50, EACH = 40 };

struct note {
    int sender, number, pad[4];
};

static struct tally {
    _Atomic int times[SENDERS][EACH];
    _Atomic int wrong, out_of_order, received, turn;
} *tally;

static void sender(void)
{
    struct note note = {.sender = atomic_fetch_add(&tally->turn, 1)};
    for (; note.number < EACH; note.number++) {
        for (int i = 0; i < 4; i++)
            note.pad[i] = note.number * 7 + i;
        if (mq_send(queue, (const char *)&note, sizeof note, 1) != 0)
            tally->wrong++;
    }
}

static void receiver(void)
{
    int last[SENDERS];
    struct note note;
    memset(last, -1, sizeof last);
    for (;;) {
        ssize_t length = mq_receive(queue, (char *)&note, sizeof note, NULL);
        if (length == 0)
            return;
        int whole = length == sizeof note && note.sender >= 0 && note.sender < SENDERS;
        whole = whole && note.number >= 0 && note.number < EACH;
        for (int i = 0; whole && i < 4; i++)
            whole = note.pad[i] == note.number * 7 + i;
        if (!whole) {
            tally->wrong++;
            continue;
        }
        tally->out_of_order += note.number <= last[note.sender];
        last[note.sender] = note.number;
        tally->times[note.sender][note.number]++;
        tally->received++;
    }
}

static void x1(void)
{
    pid_t senders[SENDERS], receivers[RECEIVERS];
    int once = 0;
    tally = shared(sizeof *tally);
    queue = create(0, 0, 10, sizeof(struct note));
    for (int i = 0; i < RECEIVERS; i++)
        receivers[i] = start(receiver);
    for (int i = 0; i < SENDERS; i++)
        senders[i] = start(sender);
    for (int i = 0; i < SENDERS; i++)
        must(strcmp(end_of(senders[i]), "exit 0") == 0, "a sender");
    /* An empty message, of the lowest priority, is the sign to stop. */
    for (int i = 0; i < RECEIVERS; i++)
        must(mq_send(queue, "", 0, 0) == 0, "sending the end");
    for (int i = 0; i < RECEIVERS; i++)
        must(strcmp(end_of(receivers[i]), "exit 0") == 0, "a receiver");
    for (int i = 0; i < SENDERS; i++)
        for (int j = 0; j < EACH; j++)
            once += tally->times[i][j] == 1;
    fact("received", "%d", tally->received);
    fact("once", "%d of %d", once, SENDERS * EACH);
    fact("out_of_order", "%d", tally->out_of_order);
    fact("wrong", "%d", tally->wrong);
    fact("left", "%ld", held(queue));
}

/* ---- peers that are killed ---- */

static void sends_for_ever(void)
{
    struct note note = {.sender = 1};
    for (;; note.number++) {
        for (int i = 0; i < 4; i++)
            note.pad[i] = note.number * 7 + i;
        mq_send(queue, (const char *)&note, sizeof note, (unsigned)note.number % 5);
    }
}

static void receives_for_ever(void)
{
    struct note note;
    for (;;)
        if (mq_receive(queue, (char *)&note, sizeof note, NULL) > 0)
            tally->received++;
}

static void x2(void)
{
    tally = shared(sizeof *tally);
    queue = create(0, 0, 10, sizeof(struct note));
    int killed = 0;
    for (int round = 0; round < 20; round++) {
        pid_t peers[4];
        int before = tally->received;
        for (int i = 0; i < 4; i++)
            peers[i] = start(i < 2 ? sends_for_ever : receives_for_ever);
        struct timespec net = in_ms(NET * 1000);
        while (tally->received < before + 50 + round * 7)
            must(!passed(&net), "nothing moves");
        for (int i = 0; i < 4; i++)
            kill(peers[i], SIGKILL);
        for (int i = 0; i < 4; i++)
            killed += strcmp(end_of(peers[i]), "signal KILL") == 0;
        struct mq_attr attr;
        struct note note;
        must(mq_getattr(queue, &attr) == 0 && attr.mq_curmsgs >= 0 && attr.mq_curmsgs <= 10, "the number of messages");
        for (long i = 0; i < attr.mq_curmsgs; i++) {
            tally->wrong += mq_receive(queue, (char *)&note, sizeof note, NULL) != sizeof note || note.sender != 1;
            for (int j = 0; j < 4; j++)
                tally->wrong += note.pad[j] != note.number * 7 + j;
        }
        /* All its places are there still, and no message. */
        mqd_t other = open_again(0, O_RDWR | O_NONBLOCK);
        int places = 0;
        while (mq_send(other, "x", 1, 1) == 0)
            places++;
        tally->wrong += places != 10;
        while (mq_receive(other, (char *)&note, sizeof note, NULL) >= 0)
            places--;
        tally->wrong += places != 0;
        mq_close(other);
    }
    fact("killed", "%d", killed);
    fact("wrong", "%d", tally->wrong);
}

/* ---- a fork while other threads are in the queue ---- */

static _Atomic int stop;

static void *sends_and_receives(void *arg)
{
    mqd_t busy = *(mqd_t *)arg;
    char bytes[64];
    while (!stop) {
        mq_send(busy, "x", 1, 1);
        mq_receive(busy, bytes, sizeof bytes, NULL);
    }
    return NULL;
}

static mqd_t answers;

static void uses_both(void)
{
    struct timespec late = in_ms(NET * 1000);
    char bytes[64];
    /* One more into the crowd, and one out of it. */
    must(mq_timedsend(queue, "x", 1, 1, &late) == 0, "the child sends");
    must(mq_timedreceive(queue, bytes, sizeof bytes, NULL, &late) == 1, "the child receives");
    must(mq_send(answers, "done", 4, 1) == 0, "the child answers");
}

static void x3(void)
{
    pthread_t threads[4];
    queue = create(0, 0, 10, 64);
    answers = create(1, 0, 10, 64);
    for (int i = 0; i < 4; i++)
        must(pthread_create(&threads[i], NULL, sends_and_receives, &queue) == 0, "a thread");
    int done = 0;
    for (int i = 0; i < 100; i++) {
        run(uses_both);
        done += strcmp(take(answers), "done/1") == 0;
    }
    stop = 1;
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    fact("children", "%d of 100", done);
    fact("left", "%ld", held(queue));
}

const struct row processes_rows[] = {
    {"F1", f1}, {"F2", f2}, {"F3", f3}, {"X1", x1}, {"X2", x2}, {"X3", x3}, {NULL, NULL},
};
