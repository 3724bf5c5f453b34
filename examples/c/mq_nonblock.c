/* Receives from an empty queue without waiting, then waiting one second: both say that nothing came, each in its own way.
 * Then the same with a message there. Nobody else is needed.
 *
 *   cc -o mq_nonblock mq_nonblock.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_nonblock";
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 64};
    char buffer[64];
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1) /* nobody else is to find it: it lives as long as it is open */
        die("mq_unlink");

    if (mq_receive(queue, buffer, sizeof buffer, NULL) != -1 || errno != EAGAIN)
        die("mq_receive from an empty queue");
    printf("without waiting: EAGAIN\n");

    /* O_NONBLOCK can be changed later; it is the only thing that can. */
    attributes.mq_flags = 0;
    if (mq_setattr(queue, &attributes, NULL) == -1)
        die("mq_setattr");

    /* A moment of the wall clock, not a number of seconds from now. */
    struct timespec deadline;
    if (clock_gettime(CLOCK_REALTIME, &deadline) == -1)
        die("clock_gettime");
    deadline.tv_sec += 1;
    if (mq_timedreceive(queue, buffer, sizeof buffer, NULL, &deadline) != -1 || errno != ETIMEDOUT)
        die("mq_timedreceive from an empty queue");
    printf("waited for a second: ETIMEDOUT\n");

    if (mq_send(queue, "here I am", strlen("here I am"), 0) == -1)
        die("mq_send");
    /* The deadline is over, but it matters only to a call that has to wait. */
    ssize_t length = mq_timedreceive(queue, buffer, sizeof buffer, NULL, &deadline);
    if (length == -1)
        die("mq_timedreceive");
    printf("with a message there: %.*s\n", (int)length, buffer);
    if (mq_close(queue) == -1)
        die("mq_close");
    return EXIT_SUCCESS;
}
