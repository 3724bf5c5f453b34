/* mq_notify: rows N1 to N13, without N6 to N8, which are in delivery.c. That nothing was delivered is shown by what comes
 * next: the signal queues, so a notice too many would come before it. */
#include "common.h"
#include <poll.h>

static mqd_t queue;

static void start_row(void)
{
    expect_notices();
    queue = create(0, O_NONBLOCK, 4, 64);
}

static void n1(void)
{
    start_row();
    fact("register", "%s", notify(queue, 1));
    put(queue, "a", 1);
    fact("first", "%s", notice());
    fact("register.with_one_there", "%s", notify(queue, 2));
    put(queue, "b", 1);
    fact("second.registration", "%s", registration(queue));
    drain(queue);
    fact("drained.registration", "%s", registration(queue));
    put(queue, "c", 1);
    fact("edge", "%s", notice());
    fact("more", "%s", notice_now());
    fact("edge.registration", "%s", registration(queue));

    /* A sender's message follows the one that is received at once: the queue was never empty for anybody. */
    mqd_t small = create(1, 0, 1, 64);
    put(small, "old", 1);
    struct call *sender = new_call(SEND, small);
    in_process(sender);
    until_blocked(sender);
    fact("handover.register", "%s", notify(small, 3));
    fact("handover.received", "%s", take(small));
    fact("handover.sender", "%s", result(sender));
    fact("handover.registration", "%s", registration(small));
    fact("handover.then", "%s", drain(small));
    put(small, "d", 1);
    fact("handover.edge", "%s", notice());
    fact("handover.more", "%s", notice_now());
}

static void n2(void)
{
    start_row();
    mqd_t other = open_again(0, O_RDONLY);
    fact("first", "%s", notify(queue, 1));
    fact("same_process", "%s", notify(queue, 2));
    fact("same_process.other_opening", "%s", notify(other, 3));
    fact("same_process.none", "%s", outcome(mq_notify(queue, &(struct sigevent){.sigev_notify = SIGEV_NONE})));
    fact("other_process", "%s", registration(queue));
    put(queue, "a", 1);
    fact("notice", "%s", notice());
    fact("more", "%s", notice_now());
}

static void n3(void)
{
    start_row();
    notify(queue, 1);
    put(queue, "a", 1);
    fact("first", "%s", notice());
    fact("registration", "%s", registration(queue));
    drain(queue);
    put(queue, "b", 1);
    drain(queue);
    fact("again", "%s", notify(queue, 2));
    put(queue, "c", 1);
    fact("next", "%s", notice());
    fact("more", "%s", notice_now());
}

/* Somebody waits in the queue; the message is theirs. */
static void taken_by(const char *name, enum verb verb, void (*way)(struct call *), mqd_t by)
{
    struct timespec late = in_ms(60000);
    struct call *receiver = new_call(verb, by);
    receiver->deadline = &late;
    way(receiver);
    until_blocked(receiver);
    const char *sent = put(queue, "theirs", 1), *got = result(receiver);
    fact(name, "send %s, received %s, left %ld, registration %s", sent, got, held(queue), registration(queue));
}

static int how_polled;

static void *polls(void *arg)
{
    _Atomic pid_t *task = arg;
    struct pollfd fd = {.fd = queue, .events = POLLIN};
    *task = gettid();
    how_polled = poll(&fd, 1, NET * 1000);
    return NULL;
}

static void n4(void)
{
    start_row();
    mqd_t waiting = open_again(0, O_RDWR);
    notify(queue, 1);
    taken_by("thread", RECEIVE, in_thread, waiting);
    taken_by("process", RECEIVE, in_process, waiting);
    taken_by("timed", TIMEDRECEIVE, in_process, waiting);
    pthread_t poller;
    _Atomic pid_t task = 0;
    must(pthread_create(&poller, NULL, polls, &task) == 0, "a thread");
    while (task == 0)
        sched_yield();
    until_asleep(getpid(), task);
    put(queue, "polled", 1);
    fact("polled", "%s", notice());
    pthread_join(poller, NULL);
    fact("poll", "%d", how_polled);
    fact("more", "%s", notice_now());
}

static void removes(void)
{
    fact("stranger", "%s", outcome(mq_notify(queue, NULL)));
}

static void *thread_removes(void *arg)
{
    (void)arg;
    fact("other_thread", "%s", outcome(mq_notify(queue, NULL)));
    return NULL;
}

static void n5(void)
{
    start_row();
    fact("nobody", "%s", outcome(mq_notify(queue, NULL)));
    notify(queue, 1);
    run(removes);
    fact("stranger.registration", "%s", registration(queue));
    fact("owner", "%s", outcome(mq_notify(queue, NULL)));
    fact("owner.registration", "%s", registration(queue));
    notify(queue, 2);
    pthread_t thread;
    must(pthread_create(&thread, NULL, thread_removes, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
    fact("other_thread.registration", "%s", registration(queue));
    put(queue, "a", 1);
    drain(queue);
    notify(queue, 3);
    put(queue, "b", 1);
    fact("notice", "%s", notice());
    fact("more", "%s", notice_now());
}

static void n9(void)
{
    start_row();
    int ends[2];
    mqd_t closed = open_again(0, O_RDWR);
    mq_close(closed);
    must(pipe(ends) == 0, "pipe");
    struct sigevent kind = {.sigev_notify = 99}, event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    fact("minus_one", "%s", notify((mqd_t)-1, 1));
    fact("closed", "%s", notify(closed, 1));
    fact("pipe", "%s", notify(ends[0], 1));
    fact("minus_one.null", "%s", outcome(mq_notify((mqd_t)-1, NULL)));
    fact("pipe.null", "%s", outcome(mq_notify(ends[0], NULL)));
    fact("kind_99", "%s", outcome(mq_notify(queue, &kind)));
    fact("kind_99.minus_one", "%s", outcome(mq_notify((mqd_t)-1, &kind)));
    fact("signal_65", "%s", outcome(mq_notify(queue, &event)));
    fact("signal_65.minus_one", "%s", outcome(mq_notify((mqd_t)-1, &event)));
    event.sigev_signo = -1;
    fact("signal_-1", "%s", outcome(mq_notify(queue, &event)));
    fact("registration", "%s", registration(queue));
    notify(queue, 1);
    fact("signal_65.registered", "%s", outcome(mq_notify(queue, &event)));
    mq_notify(queue, NULL);
    event.sigev_signo = 64;
    fact("signal_64", "%s", outcome(mq_notify(queue, &event)));
    mqd_t reader = open_again(0, O_RDONLY), writer = open_again(0, O_WRONLY);
    mq_notify(queue, NULL);
    fact("read_only", "%s", notify(reader, 2));
    fact("read_only.null", "%s", outcome(mq_notify(reader, NULL)));
    fact("write_only", "%s", notify(writer, 3));
    fact("write_only.null", "%s", outcome(mq_notify(writer, NULL)));
}

static void child_of_owner(void)
{
    fact("child.register", "%s", notify(queue, 2));
    fact("child.remove", "%s", outcome(mq_notify(queue, NULL)));
    put(queue, "from the child", 1);
    fact("child.notice", "%s", notice_now());
}

static void *thread_registers(void *arg)
{
    (void)arg;
    fact("thread.register", "%s", notify(queue, 3));
    return NULL;
}

static void n10(void)
{
    start_row();
    notify(queue, 1);
    run(child_of_owner);
    fact("parent.notice", "%s", notice());
    drain(queue);
    pthread_t thread;
    must(pthread_create(&thread, NULL, thread_registers, NULL) == 0, "a thread");
    pthread_join(thread, NULL);
    fact("thread_ended.registration", "%s", registration(queue));
    put(queue, "a", 1);
    fact("thread_ended.notice", "%s", notice());
}

static _Atomic int *registered;

static void registers_and_waits(void)
{
    must(strcmp(notify(queue, 7), "ok") == 0, "registering");
    *registered = 1;
    pause();
}

static void registers_and_ends(void)
{
    must(strcmp(notify(queue, 7), "ok") == 0, "registering");
}

static void n11(void)
{
    start_row();
    registered = shared(sizeof *registered);
    pid_t owner = start(registers_and_waits);
    until_set(registered);
    fact("alive", "%s", notify(queue, 1));
    kill(owner, SIGKILL);
    fact("owner", "%s", end_of(owner));
    fact("killed", "%s", notify(queue, 2));
    put(queue, "a", 1);
    fact("notice", "%s", notice());
    drain(queue);
    run(registers_and_ends);
    fact("ended", "%s", notify(queue, 3));
    put(queue, "b", 1);
    fact("ended.notice", "%s", notice());
    fact("more", "%s", notice_now());
}

static void stranger_sends(void)
{
    become(STRANGER);
    fact("kill", "%s", outcome(kill(getppid(), 0)));
    fact("send", "%s", put(queue, "from a stranger", 1));
}

static void n12(void)
{
    start_row();
    notify(queue, 1);
    if (!is_root()) {
        skip("send", "another user needs root");
        return;
    }
    run(stranger_sends);
    fact("notice", "%s", notice());
    fact("registration", "%s", registration(queue));
}

static void registers_and_executes(void)
{
    must(strcmp(notify(queue, 7), "ok") == 0, "registering");
    exec_part("descriptor", queue);
}

static void n13(void)
{
    start_row();
    run(registers_and_executes);
    fact("registration", "%s", registration(queue));
    notify(queue, 1);
    put(queue, "a", 1);
    fact("notice", "%s", notice());
}

const struct row notify_rows[] = {
    {"N1", n1}, {"N2", n2},   {"N3", n3},   {"N4", n4},   {"N5", n5},
    {"N9", n9}, {"N10", n10}, {"N11", n11}, {"N12", n12}, {"N13", n13}, {NULL, NULL},
};
