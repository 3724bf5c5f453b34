/* Pitfall: a signal handler runs while a call waits, and the call ends with EINTR. Here a timer sends SIGALRM again and again.
 *
 *   cc -o eintr eintr.c        (with a C library older than glibc 2.34: and -lrt -pthread)
 */
#define _XOPEN_SOURCE 700
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t signals;

static void handler(int signal)
{
    (void)signal;
    signals++;
}

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void handle(int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    if (sigaction(SIGALRM, &action, NULL) == -1)
        die("sigaction");
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_eintr";
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 64};
    char buffer[64];
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1)
        die("mq_unlink");
    sem_t semaphore;
    if (sem_init(&semaphore, 0, 0) == -1)
        die("sem_init");
    handle(0);
    struct itimerval often = {.it_interval = {.tv_usec = 100000}, .it_value = {.tv_usec = 100000}};
    if (setitimer(ITIMER_REAL, &often, NULL) == -1)
        die("setitimer");

    if (mq_receive(queue, buffer, sizeof buffer, NULL) != -1 || errno != EINTR)
        die("mq_receive");
    printf("mq_receive: EINTR\n");
    if (sem_wait(&semaphore) != -1 || errno != EINTR)
        die("sem_wait");
    printf("sem_wait: EINTR\n");

    /* Right: call again. */
    int interrupted = 0;
    ssize_t length;
    while ((length = mq_receive(queue, buffer, sizeof buffer, NULL)) == -1 && errno == EINTR)
        if (++interrupted == 3 && mq_send(queue, "a message", 9, 0) == -1)
            die("mq_send");
    if (length == -1)
        die("mq_receive");
    printf("mq_receive in a loop: interrupted %d times, then %.*s\n", interrupted, (int)length, buffer);

    /* Or have the kernel do so. */
    handle(SA_RESTART);
    struct timespec deadline;
    if (clock_gettime(CLOCK_REALTIME, &deadline) == -1)
        die("clock_gettime");
    deadline.tv_sec += 1;
    signals = 0;
    if (mq_timedreceive(queue, buffer, sizeof buffer, NULL, &deadline) != -1 || errno != ETIMEDOUT || signals == 0)
        die("mq_timedreceive");
    printf("mq_timedreceive with SA_RESTART: waited on in spite of the signals, ETIMEDOUT after a second\n");
    return EXIT_SUCCESS;
}
