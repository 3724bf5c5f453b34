/* Pitfall: a full queue. mq_send waits then, for ever if nobody receives; here it is asked not to.
 *
 *   cc -o full_queue full_queue.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_full";
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1)
        die("mq_unlink");

    int sent = 0;
    while (mq_send(queue, "work", 4, 0) == 0)
        sent++;
    if (errno != EAGAIN)
        die("mq_send");
    printf("%d messages are in, the next one: EAGAIN\n", sent);
    if (mq_send(queue, "urgent", 6, 9) != -1 || errno != EAGAIN)
        die("mq_send");
    printf("an urgent one: EAGAIN, too\n");

    attributes.mq_flags = 0; /* no O_NONBLOCK */
    if (mq_setattr(queue, &attributes, NULL) == -1)
        die("mq_setattr");
    struct timespec deadline;
    if (clock_gettime(CLOCK_REALTIME, &deadline) == -1)
        die("clock_gettime");
    deadline.tv_sec += 1;
    if (mq_timedsend(queue, "work", 4, 0, &deadline) != -1 || errno != ETIMEDOUT)
        die("mq_timedsend");
    printf("after waiting for a second: ETIMEDOUT\n");

    char buffer[64];
    if (mq_receive(queue, buffer, sizeof buffer, NULL) == -1)
        die("mq_receive");
    if (mq_send(queue, "urgent", 6, 9) == -1)
        die("mq_send");
    printf("one received: there is room for one\n");
    return EXIT_SUCCESS;
}
