/* A message queue from the command line, by mqueue.h. Commands follow one another:
 *   create NAME MAX SIZE | attributes NAME | send NAME PRIORITY TEXT | receive NAME | poll NAME | epoll NAME
 *   text NAME | notify NAME | unlink NAME | hold NAME (opens it; the commands after it find it open)
 * What fails is printed, with the error's name, and the commands go on. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static char **word;

static const char *next(void)
{
    if (!*word) {
        fprintf(stderr, "a command lacks an argument\n");
        exit(2);
    }
    return *word++;
}

/* Prints what failed; true if it did. */
static int failed(const char *what, long result)
{
    if (result < 0)
        printf("%s: %s\n", what, strerrorname_np(errno));
    return result < 0;
}

static void create(void)
{
    const char *name = next();
    struct mq_attr attributes = {.mq_maxmsg = atol(next())};
    attributes.mq_msgsize = atol(next());
    mqd_t queue = mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attributes);
    if (!failed("create", queue))
        mq_close(queue);
}

static void show_attributes(mqd_t queue)
{
    struct mq_attr now;
    if (!failed("attributes", mq_getattr(queue, &now)))
        printf("%ld %ld %ld\n", now.mq_maxmsg, now.mq_msgsize, now.mq_curmsgs);
}

static void receive(mqd_t queue)
{
    struct mq_attr now;
    unsigned priority;
    if (failed("attributes", mq_getattr(queue, &now)))
        return;
    char *buffer = malloc(now.mq_msgsize);
    ssize_t length = mq_receive(queue, buffer, now.mq_msgsize, &priority);
    if (!failed("receive", length))
        printf("%u %.*s\n", priority, (int)length, buffer);
    free(buffer);
}

static void show_poll(mqd_t queue)
{
    struct pollfd polled = {.fd = queue, .events = POLLIN};
    if (!failed("poll", poll(&polled, 1, -1)))
        printf("poll %d\n", polled.revents);
}

static void show_epoll(mqd_t queue)
{
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    if (!failed("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, queue, &event)) &&
        !failed("epoll_wait", epoll_wait(epoll, &event, 1, -1)))
        printf("epoll %u\n", event.events);
    close(epoll);
}

static void show_text(mqd_t queue)
{
    char buffer[200];
    ssize_t length = read(queue, buffer, sizeof buffer);
    if (!failed("read", length))
        printf("%.*s", (int)length, buffer);
}

static volatile sig_atomic_t value, code;

static void told(int signal, siginfo_t *information, void *context)
{
    (void)signal, (void)context;
    code = information->si_code;
    value = information->si_value.sival_int;
}

static void notify(mqd_t queue)
{
    struct sigaction action = {.sa_sigaction = told, .sa_flags = SA_SIGINFO};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    sigset_t blocked, before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    sigaction(SIGUSR1, &action, NULL);
    if (failed("notify", mq_notify(queue, &event)))
        return;
    printf("registered\n");
    fflush(stdout);
    while (!value)
        sigsuspend(&before);
    printf("notified %d %d\n", code, value);
}

int main(int count, char **words)
{
    (void)count;
    mqd_t held = -1;
    for (word = words + 1; *word;) {
        const char *command = next();
        if (!strcmp(command, "create")) {
            create();
            continue;
        }
        const char *name = next();
        if (!strcmp(command, "unlink")) {
            failed("unlink", mq_unlink(name));
            continue;
        }
        mqd_t queue = held >= 0 ? held : mq_open(name, O_RDWR);
        if (failed("open", queue))
            continue;
        if (!strcmp(command, "hold")) {
            held = queue;
        } else if (!strcmp(command, "send")) {
            unsigned priority = atol(next());
            const char *text = next();
            failed("send", mq_send(queue, text, strlen(text), priority));
        } else if (!strcmp(command, "attributes")) {
            show_attributes(queue);
        } else if (!strcmp(command, "receive")) {
            receive(queue);
        } else if (!strcmp(command, "poll")) {
            show_poll(queue);
        } else if (!strcmp(command, "epoll")) {
            show_epoll(queue);
        } else if (!strcmp(command, "text")) {
            show_text(queue);
        } else if (!strcmp(command, "notify")) {
            notify(queue);
        } else {
            fprintf(stderr, "unknown: %s\n", command);
            return 2;
        }
        if (queue != held)
            mq_close(queue);
    }
    return 0;
}
