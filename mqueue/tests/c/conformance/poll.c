/* Waiting for a queue and other things at once: rows F4 (poll, select, epoll by level) and F5 (epoll by edge). */
#include "common.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>

/* The compiler shall not know it, so that a fortified build calls what checks it. */
static volatile nfds_t one = 1;

const char *events_text(int events)
{
    static char texts[8][64];
    static unsigned turn;
    static const struct {
        int bit;
        const char *name;
    } bits[] = {{POLLIN, "IN"},         {POLLOUT, "OUT"}, {POLLRDNORM, "RDNORM"}, {POLLWRNORM, "WRNORM"},
                {POLLPRI, "PRI"},       {POLLERR, "ERR"}, {POLLHUP, "HUP"},       {POLLNVAL, "NVAL"}};
    char *text = texts[turn++ % 8];
    strcpy(text, events == 0 ? "nothing" : "");
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (events & bits[i].bit)
            strcat(strcat(text, text[0] == '\0' ? "" : "|"), bits[i].name);
    return text;
}

int polled(mqd_t queue)
{
    struct pollfd fd = {.fd = queue, .events = POLLIN | POLLOUT | POLLPRI | POLLRDNORM | POLLWRNORM};
    return poll(&fd, one, 0) < 0 ? -1 : fd.revents;
}

static int epolled(mqd_t queue)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event) == 0, "epoll_ctl");
    event.events = 0;
    int got = epoll_wait(epoll, &event, 1, 0);
    close(epoll);
    return got < 0 ? -1 : (int)event.events;
}

static int selected(mqd_t queue)
{
    fd_set in, out;
    struct timeval now = {0};
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(queue, &in);
    FD_SET(queue, &out);
    must(select(queue + 1, &in, &out, NULL, &now) >= 0, "select");
    return (FD_ISSET(queue, &in) ? POLLIN : 0) | (FD_ISSET(queue, &out) ? POLLOUT : 0);
}

static void show_states(const char *state, mqd_t both, mqd_t reader, mqd_t writer)
{
    char name[64];
    fact(state, "poll %s, epoll %s, select %s", events_text(polled(both)), events_text(epolled(both)),
         events_text(selected(both)));
    snprintf(name, sizeof name, "%s.read_only", state);
    fact(name, "poll %s, epoll %s, select %s", events_text(polled(reader)), events_text(epolled(reader)),
         events_text(selected(reader)));
    snprintf(name, sizeof name, "%s.write_only", state);
    fact(name, "poll %s, epoll %s, select %s", events_text(polled(writer)), events_text(epolled(writer)),
         events_text(selected(writer)));
}

static mqd_t watched;
static short watched_for;
static _Atomic int *seen;

static void polls(void)
{
    struct pollfd fd = {.fd = watched, .events = watched_for};
    *seen = poll(&fd, one, NET * 1000) == 1 ? fd.revents : -1;
}

static void waits_in_epoll(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = (uint32_t)watched_for};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, watched, &event) == 0, "epoll_ctl");
    *seen = epoll_wait(epoll, &event, 1, NET * 1000) == 1 ? (int)event.events : -1;
}

static void woken(const char *name, void (*part)(void), short events, mqd_t queue)
{
    watched = queue;
    watched_for = events;
    *seen = 0;
    pid_t child = start(part);
    until_asleep(child, 0);
    const char *done = events == POLLIN ? put(queue, "news", 1) : take(queue);
    must(strcmp(end_of(child), "exit 0") == 0, "a child failed");
    fact(name, "%s wakes it with %s", done, events_text(*seen & events));
}

static void f4(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 2, 64), reader = open_again(0, O_RDONLY), writer = open_again(0, O_WRONLY);
    seen = shared(sizeof *seen);
    show_states("empty", queue, reader, writer);
    woken("poll.in", polls, POLLIN, queue);
    show_states("partly", queue, reader, writer);
    put(queue, "x", 1);
    show_states("full", queue, reader, writer);
    woken("poll.out", polls, POLLOUT, queue);
    show_states("partly_again", queue, reader, writer);
    int copy = dup(queue), ends[2];
    fact("dup", "%s", events_text(polled(copy)));
    must(pipe(ends) == 0, "pipe");
    struct pollfd set[] = {{.fd = ends[1], .events = POLLOUT}, {.fd = reader, .events = POLLIN}, {.fd = -1},
                           {.fd = queue, .events = POLLIN},    {.fd = ends[0], .events = POLLIN}};
    int count = poll(set, 5, NET * 1000);
    fact("among_others", "%d: %s, %s, %s, %s, %s", count, events_text(set[0].revents), events_text(set[1].revents),
         events_text(set[2].revents), events_text(set[3].revents), events_text(set[4].revents));
    count = ppoll(set + 3, one, &(struct timespec){.tv_sec = NET}, NULL);
    fact("ppoll", "%d: %s", count, events_text(set[3].revents));
    fact("drain", "%s", drain(queue));
    show_states("empty_again", queue, reader, writer);
    count = poll(set + 3, 1, 20);
    fact("time_out", "%d: %s", count, events_text(set[3].revents));
    woken("epoll.in", waits_in_epoll, POLLIN, queue);
    fill(queue);
    woken("epoll.out", waits_in_epoll, POLLOUT, queue);
    mq_unlink(name_of(0));
    drain(queue);
    fact("unlinked", "%s", events_text(polled(queue)));
    put(queue, "x", 1);
    fact("unlinked.message", "%s", events_text(polled(queue)));
    mq_close(copy);
    fact("closed", "%s", events_text(polled(copy)));
}

static const char *next_event(int epoll)
{
    struct epoll_event event = {0};
    return epoll_wait(epoll, &event, 1, 0) == 1 ? events_text((int)event.events) : "none";
}

static mqd_t sent_to;

static void sends(void)
{
    must(strcmp(put(sent_to, "from a child", 1), "ok") == 0, "sending");
}

static void f5(void)
{
    mqd_t queue = create(0, O_NONBLOCK, 3, 64);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event) == 0, "epoll_ctl");
    fact("in.empty", "%s", next_event(epoll));
    put(queue, "a", 1);
    const char *first = next_event(epoll);
    fact("in.first", "%s, then %s", first, next_event(epoll));
    put(queue, "b", 1);
    first = next_event(epoll);
    fact("in.second", "%s, then %s", first, next_event(epoll));
    sent_to = queue;
    run(sends);
    first = next_event(epoll);
    fact("in.from_a_child", "%s, then %s", first, next_event(epoll));
    take(queue);
    first = next_event(epoll);
    fact("in.received_from_full", "%s, then %s", first, next_event(epoll));
    take(queue);
    first = next_event(epoll);
    fact("in.received", "%s, then %s", first, next_event(epoll));
    take(queue);
    fact("in.emptied", "%s", next_event(epoll));
    put(queue, "c", 1);
    first = next_event(epoll);
    fact("in.again", "%s, then %s", first, next_event(epoll));

    event.events = EPOLLIN | EPOLLOUT | EPOLLET;
    must(epoll_ctl(epoll, EPOLL_CTL_MOD, queue, &event) == 0, "epoll_ctl");
    first = next_event(epoll);
    fact("both.partly", "%s, then %s", first, next_event(epoll));
    fill(queue);
    first = next_event(epoll);
    fact("both.full", "%s, then %s", first, next_event(epoll));
    take(queue);
    first = next_event(epoll);
    fact("both.received", "%s, then %s", first, next_event(epoll));
    put(queue, "d", 1);
    fact("both.full_again", "%s", next_event(epoll));
    drain(queue);
    fact("both.emptied", "%s", next_event(epoll));

    event.events = EPOLLIN | EPOLLONESHOT;
    must(epoll_ctl(epoll, EPOLL_CTL_MOD, queue, &event) == 0, "epoll_ctl");
    put(queue, "e", 1);
    first = next_event(epoll);
    put(queue, "f", 1);
    fact("oneshot", "%s, then %s", first, next_event(epoll));
}

const struct row poll_rows[] = {
    {"F4", f4}, {"F5", f5}, {NULL, NULL},
};
