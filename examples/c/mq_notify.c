/* Is told by a signal that a message has come, instead of waiting in mq_receive. Shown here: one process at a time may
 * register, it is told once, and only when the queue was empty before.
 *
 *   cc -o mq_notify mq_notify.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const struct timespec NOT_AT_ALL = {0, 0}, PATIENCE = {10, 0};

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static int wanted(mqd_t queue)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    event.sigev_value.sival_int = 42;
    return mq_notify(queue, &event);
}

/* A child sends, and has ended when this returns. */
static pid_t child_sends(mqd_t queue, const char *text)
{
    pid_t child = fork();
    if (child == -1)
        die("fork");
    if (child == 0)
        _exit(mq_send(queue, text, strlen(text), 0) == -1);
    int status;
    if (waitpid(child, &status, 0) == -1 || status != 0)
        die("the child's mq_send");
    return child;
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_notify";
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1) /* the child has it from its parent, by fork, and needs no name */
        die("mq_unlink");

    /* A blocked signal stays pending until sigtimedwait takes it: no handler, and nothing can be missed. */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) == -1)
        die("sigprocmask");

    if (wanted(queue) == -1)
        die("mq_notify");
    printf("registered\n");
    if (wanted(queue) != -1 || errno != EBUSY)
        die("a second registration");
    printf("registering again: EBUSY\n");

    pid_t child = child_sends(queue, "one");
    siginfo_t info;
    if (sigtimedwait(&signals, &info, &PATIENCE) == -1)
        die("sigtimedwait");
    printf("told: a message queue %s, sent by %s, with the value %d\n", info.si_code == SI_MESGQ ? "spoke" : "was silent",
           info.si_pid == child ? "the child" : "somebody else", info.si_value.sival_int);

    if (wanted(queue) == -1) /* the first registration is used up */
        die("mq_notify");
    child_sends(queue, "two");
    if (sigtimedwait(&signals, &info, &NOT_AT_ALL) != -1 || errno != EAGAIN)
        die("nobody should be told");
    printf("a second message, with the first still there: nobody is told\n");

    char buffer[64];
    for (int i = 0; i < 2; i++)
        if (mq_receive(queue, buffer, sizeof buffer, NULL) == -1)
            die("mq_receive");
    child_sends(queue, "three");
    if (sigtimedwait(&signals, &info, &PATIENCE) == -1)
        die("sigtimedwait");
    printf("a third, after the queue was emptied: told\n");
    return EXIT_SUCCESS;
}
