/* Threads that are cancelled in a call, or before it: rows S16 and R14. */
#include "common.h"

static void cancel_blocked(enum verb verb, const struct timespec *deadline)
{
    char name[64];
    struct call *call = blocked_call(verb, deadline, in_thread);
    pthread_cancel(call->thread);
    const char *said = result(call);
    mqd_t queue = call->queue;
    label(name, verb, "blocked");
    fact(name, "%s, cleanup %s, then %s", said, call->cleaned ? "ran" : "did not run", drain(queue));
    /* Nobody stands in the queue any more, so that the next caller is served, and in order. */
    struct call *next = new_call(verb, queue);
    next->deadline = deadline;
    if (is_send(verb))
        fill(queue);
    in_process(next);
    until_blocked(next);
    release_call(next);
    label(name, verb, "blocked.next");
    said = result(next);
    fact(name, "%s, then %s", said, drain(queue));
    finish_call(call);
}

static void cancel_self(struct call *call)
{
    (void)call;
    pthread_cancel(pthread_self());
}

/* The request is there before the call, which need not wait. */
static void cancel_before(enum verb verb, int flags, const char *what)
{
    char name[64];
    mqd_t queue = create(0, flags, 2, 64);
    put(queue, "there", 1);
    struct call *call = new_call(verb, queue);
    call->deadline = &long_ago;
    call->before = cancel_self;
    in_thread(call);
    const char *said = result(call);
    label(name, verb, what);
    fact(name, "%s, cleanup %s, then %s", said, call->cleaned ? "ran" : "did not run", drain(queue));
    finish_call(call);
}

static void disable(struct call *call)
{
    (void)call;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
}

static void cancel_disabled(enum verb verb, const struct timespec *deadline)
{
    char name[64];
    mqd_t queue = create(0, 0, 2, 64);
    if (is_send(verb))
        fill(queue);
    struct call *call = new_call(verb, queue);
    call->deadline = deadline;
    call->before = disable;
    in_thread(call);
    until_blocked(call);
    pthread_cancel(call->thread);
    const char *still = blocked(call);
    release_call(call);
    label(name, verb, "disabled");
    const char *said = result(call);
    fact(name, "%s; %s; then %s", still, said, drain(queue));
    finish_call(call);
}

/* The third of three in the queue is cancelled, and the first: the second is served. */
static void cancel_around(enum verb verb)
{
    char name[64];
    struct call *first = blocked_call(verb, NULL, in_thread), *calls[2];
    for (int i = 0; i < 2; i++) {
        calls[i] = new_call(verb, first->queue);
        calls[i]->text = i == 0 ? "second" : "third";
        in_thread(calls[i]);
        until_blocked(calls[i]);
    }
    pthread_cancel(calls[1]->thread);
    const char *third = result(calls[1]);
    pthread_cancel(first->thread);
    const char *one = result(first);
    release_call(first);
    const char *two = result(calls[0]);
    label(name, verb, "first_and_third_of_three");
    fact(name, "%s, %s, %s, then %s", one, two, third, drain(first->queue));
    finish_call(first);
}

/* Races cancellation with what the call waits for. Who wins is open, and the C library may lose the result of a call
 * that has ended (its fault 12683): the queue is in order all the same, with all its places. */
static void cancel_race(enum verb verb)
{
    char name[64];
    int wrong = 0;
    for (int round = 0; round < 100; round++) {
        struct call *call = blocked_call(verb, NULL, in_thread);
        release_call(call);
        pthread_cancel(call->thread);
        const char *said = result(call);
        long there = held(call->queue);
        wrong += strcmp(said, "cancelled") != 0 && strcmp(said, is_send(verb) ? "ok" : "news/2") != 0;
        if (strcmp(said, "cancelled") != 0)
            wrong += there != (is_send(verb) ? 2 : 0);
        else
            wrong += is_send(verb) ? there < 1 || there > 2 : there < 0 || there > 1;
        drain(call->queue);
        fill(call->queue);
        wrong += strcmp(drain(call->queue), "old/1 old/1") != 0;
        finish_call(call);
    }
    label(name, verb, "race");
    fact(name, "%d of 100 wrong", wrong);
}

static void cancelled(enum verb plain, enum verb timed)
{
    struct timespec late = in_ms(60000);
    cancel_blocked(plain, NULL);
    cancel_blocked(timed, &late);
    cancel_before(plain, 0, "pending");
    cancel_before(timed, 0, "pending");
    cancel_before(plain, O_NONBLOCK, "pending.nonblock");
    cancel_before(timed, O_NONBLOCK, "pending.nonblock");
    cancel_disabled(plain, NULL);
    cancel_disabled(timed, &late);
    cancel_around(plain);
    cancel_race(plain);
}

static void s16(void)
{
    cancelled(SEND, TIMEDSEND);
}

static void r14(void)
{
    cancelled(RECEIVE, TIMEDRECEIVE);
}

const struct row cancellation_rows[] = {
    {"S16", s16}, {"R14", r14}, {NULL, NULL},
};
