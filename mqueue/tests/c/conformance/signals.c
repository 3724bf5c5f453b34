/* Signals that come while a call waits: rows S7 and R6. */
#include "common.h"

static _Atomic int handled;

static void handler(int signal)
{
    (void)signal;
    handled++;
}

static void handle(int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    must(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
}

static void without_restart(enum verb verb, const char *what, const struct timespec *deadline)
{
    char name[64];
    handle(0);
    struct call *call = blocked_call(verb, deadline, in_thread);
    handled = 0;
    pthread_kill(call->thread, SIGUSR1);
    const char *said = result(call);
    label(name, verb, what);
    fact(name, "%s, handled %d, then %s", said, handled, drain(call->queue));
    finish_call(call);
}

static void with_restart(enum verb verb, const char *what, const struct timespec *deadline)
{
    char name[64];
    handle(SA_RESTART);
    struct call *call = blocked_call(verb, deadline, in_thread);
    int times = 0;
    for (; times < 3; times++) {
        handled = 0;
        pthread_kill(call->thread, SIGUSR1);
        until_set(&handled);
        if (strcmp(blocked(call), "waits") != 0)
            break;
    }
    release_call(call);
    label(name, verb, what);
    const char *said = result(call);
    fact(name, "waits on after %d; %s; then %s", times, said, drain(call->queue));
    finish_call(call);
}

/* The deadline of a call that is resumed stays what it was. */
static void restart_and_deadline(enum verb verb)
{
    char name[64];
    struct timespec soon = in_ms(300);
    handle(SA_RESTART);
    mqd_t queue = create(0, 0, 2, 64);
    if (is_send(verb))
        fill(queue);
    struct call *call = new_call(verb, queue);
    call->deadline = &soon;
    in_thread(call);
    while (call->task == 0)
        sched_yield();
    while (!call->done) {
        handled = 0;
        pthread_kill(call->thread, SIGUSR1);
        while (!handled && !call->done)
            sched_yield();
    }
    label(name, verb, "restart_until_deadline");
    const char *said = result(call);
    fact(name, "%s, %s", said, passed(&soon) ? "not before" : "too early");
    finish_call(call);
}

/* A handler that never runs: the signal is ignored, or stops and goes on. */
static void no_handler(enum verb verb, const struct timespec *deadline)
{
    char name[64];
    signal(SIGUSR1, SIG_IGN);
    struct call *call = blocked_call(verb, deadline, in_process);
    kill(call->process, SIGUSR1);
    const char *ignored = blocked(call);
    kill(call->process, SIGSTOP);
    int status;
    must(waitpid(call->process, &status, WUNTRACED) == call->process && WIFSTOPPED(status), "stopping");
    kill(call->process, SIGCONT);
    must(waitpid(call->process, &status, WCONTINUED) == call->process && WIFCONTINUED(status), "continuing");
    const char *continued = blocked(call);
    release_call(call);
    label(name, verb, "no_handler");
    fact(name, "ignored: %s; stopped and continued: %s; %s", ignored, continued, result(call));
    finish_call(call);
}

static void interrupted(enum verb plain, enum verb timed)
{
    struct timespec late = in_ms(60000);
    without_restart(plain, "plain", NULL);
    without_restart(timed, "plain", &late);
    without_restart(timed, "plain.null", NULL);
    with_restart(plain, "restart", NULL);
    with_restart(timed, "restart", &late);
    with_restart(timed, "restart.null", NULL);
    restart_and_deadline(timed);
    no_handler(plain, NULL);
    no_handler(timed, &late);
}

static void s7(void)
{
    interrupted(SEND, TIMEDSEND);
}

static void r6(void)
{
    interrupted(RECEIVE, TIMEDRECEIVE);
}

const struct row signals_rows[] = {
    {"S7", s7}, {"R6", r6}, {NULL, NULL},
};
