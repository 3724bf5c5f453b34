/* Receives what mq_sender left in the queue, the highest priority first, and removes the queue when it is empty.
 *
 *   cc -o mq_receiver mq_receiver.c        (with a C library older than glibc 2.34: and -lrt)
 *   ./mq_sender && ./mq_receiver
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example";
    mqd_t queue = mq_open(name, O_RDONLY | O_NONBLOCK);
    if (queue == (mqd_t)-1)
        die("mq_open");
    struct mq_attr attributes;
    if (mq_getattr(queue, &attributes) == -1)
        die("mq_getattr");
    printf("%s holds %ld of at most %ld messages\n", name, attributes.mq_curmsgs, attributes.mq_maxmsg);

    /* Room for the longest message that this queue takes, whatever the next one is. */
    char *buffer = malloc(attributes.mq_msgsize);
    if (buffer == NULL)
        die("malloc");
    for (;;) {
        unsigned priority;
        ssize_t length = mq_receive(queue, buffer, attributes.mq_msgsize, &priority);
        if (length == -1 && errno == EAGAIN)
            break; /* it is empty */
        if (length == -1)
            die("mq_receive");
        printf("received with priority %u: %.*s\n", priority, (int)length, buffer);
    }
    free(buffer);
    if (mq_close(queue) == -1)
        die("mq_close");
    if (mq_unlink(name) == -1)
        die("mq_unlink");
    printf("it is empty now, and removed\n");
    return EXIT_SUCCESS;
}
