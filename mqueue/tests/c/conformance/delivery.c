/* The three ways in which a notification comes: rows N6 (a signal), N7 (a thread), N8 (not at all). */
#include "common.h"
#include <semaphore.h>

static mqd_t queue;

static void start_row(void)
{
    expect_notices();
    queue = create(0, O_NONBLOCK, 4, 64);
}

static void sends(void)
{
    must(strcmp(put(queue, "x", 1), "ok") == 0, "sending");
}

static void stranger_sends(void)
{
    become(STRANGER);
    sends();
}

static void show_notice(const char *name, pid_t sender, const void *value)
{
    struct timespec net = {.tv_sec = NET};
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, NOTICE);
    if (sigtimedwait(&set, &info, &net) < 0) {
        fact(name, "none");
        return;
    }
    char user[16] = "own";
    if (info.si_uid != getuid())
        snprintf(user, sizeof user, "%u", info.si_uid);
    fact(name, "si_signo %s, si_errno %d, si_code %s, si_pid %s, si_uid %s, si_value %s",
         info.si_signo == NOTICE ? "as asked" : "other", info.si_errno, info.si_code == SI_MESGQ ? "SI_MESGQ" : "other",
         info.si_pid == sender ? "the sender" : info.si_pid == getpid() ? "the owner" : "other", user,
         info.si_value.sival_ptr == value ? "as given" : "other");
    drain(queue);
}

static pid_t ended(pid_t child)
{
    must(strcmp(end_of(child), "exit 0") == 0, "a child failed");
    return child;
}

static volatile sig_atomic_t code_seen, pid_right;

static void detailed(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    pid_right = info->si_pid == getpid();
    code_seen = info->si_code;
}

static void n6(void)
{
    static char place;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = NOTICE, .sigev_value.sival_ptr = &place};
    start_row();
    must(mq_notify(queue, &event) == 0, "registering");
    show_notice("other_process", ended(start(sends)), &place);
    must(mq_notify(queue, &event) == 0, "registering");
    sends();
    show_notice("own_process", getpid(), &place);
    if (is_root()) {
        must(mq_notify(queue, &event) == 0, "registering");
        show_notice("other_user", ended(start(stranger_sends)), &place);
    } else {
        skip("other_user", "another user needs root");
    }
    struct sigaction action = {.sa_sigaction = detailed, .sa_flags = SA_SIGINFO};
    must(sigaction(SIGUSR2, &action, NULL) == 0, "sigaction");
    event.sigev_signo = SIGUSR2;
    must(mq_notify(queue, &event) == 0, "registering");
    sends();
    struct timespec net = in_ms(NET * 1000);
    while (code_seen == 0 && !passed(&net))
        sched_yield();
    fact("handler", "si_code %s, si_pid %s", code_seen == SI_MESGQ ? "SI_MESGQ" : "other",
         pid_right ? "the sender" : "other");
    drain(queue);
    event.sigev_signo = 0;
    fact("signal_0", "%s", outcome(mq_notify(queue, &event)));
    fact("signal_0.registration", "%s", registration(queue));
    sends();
    fact("signal_0.message.registration", "%s", registration(queue));
    drain(queue);
    event.sigev_signo = 65;
    fact("signal_65", "%s", outcome(mq_notify(queue, &event)));
    event.sigev_signo = NOTICE;
    must(mq_notify(queue, &event) == 0, "registering");
    sends();
    show_notice("afterwards", getpid(), &place);
    fact("more", "%s", notice_now());
}

static sem_t noticed;
static pthread_t main_thread;
static size_t stack_seen;
static int value_seen, own_thread, detached;

static void on_notice(union sigval value)
{
    pthread_attr_t attr;
    must(pthread_getattr_np(pthread_self(), &attr) == 0, "attributes of a thread");
    pthread_attr_getstacksize(&attr, &stack_seen);
    pthread_attr_getdetachstate(&attr, &detached);
    pthread_attr_destroy(&attr);
    value_seen = value.sival_int;
    own_thread = !pthread_equal(pthread_self(), main_thread);
    sem_post(&noticed);
}

static const char *by_thread(int value, pthread_attr_t *attr)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = value};
    event.sigev_notify_function = on_notice;
    event.sigev_notify_attributes = attr;
    return outcome(mq_notify(queue, &event));
}

static const char *until_noticed(void)
{
    struct timespec net = in_ms(NET * 1000);
    int got;
    do
        got = sem_timedwait(&noticed, &net);
    while (got != 0 && errno == EINTR);
    return got == 0 ? "called" : "not called";
}

static void by_thread_in_child(void)
{
    main_thread = pthread_self();
    fact("child.register", "%s", by_thread(4, NULL));
    put(queue, "d", 1);
    const char *called = until_noticed();
    fact("child", "%s with %d in %s", called, value_seen, own_thread ? "another thread" : "this thread");
    drain(queue);
}

static void n7(void)
{
    start_row();
    must(sem_init(&noticed, 0, 0) == 0, "a semaphore");
    /* Before this process has a thread that is told: the C library would share its socket with the child, and either
     * might be told. */
    run(by_thread_in_child);
    main_thread = pthread_self();
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    /* First, because the C library gives threads the stacks of earlier ones. */
    pthread_attr_setstacksize(&attr, 1 << 20);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    fact("attributes.register", "%s", by_thread(1, &attr));
    pthread_attr_destroy(&attr);
    put(queue, "a", 1);
    const char *called = until_noticed();
    fact("attributes", "%s with %d, stack %zu", called, value_seen, stack_seen);
    fact("attributes.detached", "%s", detached == PTHREAD_CREATE_DETACHED ? "yes" : "no");
    drain(queue);

    fact("default.register", "%s", by_thread(2, NULL));
    put(queue, "b", 1);
    called = until_noticed();
    fact("default", "%s with %d in %s", called, value_seen, own_thread ? "another thread" : "this thread");
    fact("default.registration", "%s", registration(queue));
    drain(queue);

    for (int i = 0; i < 50; i++) {
        must(strcmp(by_thread(100 + i, NULL), "ok") == 0, "registering again");
        put(queue, "c", 1);
        must(strcmp(until_noticed(), "called") == 0 && value_seen == 100 + i, "one of fifty");
        drain(queue);
    }
    fact("fifty", "all called");
    by_thread(5, NULL);
    fact("unregister", "%s", outcome(mq_notify(queue, NULL)));
    put(queue, "e", 1);
    drain(queue);
    by_thread(6, NULL);
    put(queue, "f", 1);
    called = until_noticed();
    fact("afterwards", "%s with %d", called, value_seen);
}

static void n8(void)
{
    start_row();
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    fact("register", "%s", outcome(mq_notify(queue, &none)));
    fact("registration", "%s", registration(queue));
    put(queue, "a", 1);
    fact("message.registration", "%s", registration(queue));
    drain(queue);
    notify(queue, 1);
    put(queue, "b", 1);
    fact("notice", "%s", notice());
    fact("more", "%s", notice_now());
}

const struct row delivery_rows[] = {
    {"N6", n6}, {"N7", n7}, {"N8", n8}, {NULL, NULL},
};
