/* Pitfall: a buffer that is large enough for the message, but not for the largest message that the queue takes.
 *
 *   cc -o short_buffer short_buffer.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_short";
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1)
        die("mq_unlink");
    if (mq_send(queue, "hello", 5, 0) == -1)
        die("mq_send");

    char buffer[64];
    if (mq_receive(queue, buffer, 16, NULL) != -1 || errno != EMSGSIZE)
        die("mq_receive with a short buffer");
    printf("5 bytes into a buffer of 16: EMSGSIZE\n");
    if (mq_getattr(queue, &attributes) == -1)
        die("mq_getattr");
    printf("%ld message is still there\n", attributes.mq_curmsgs);

    /* Right: as large as the queue says, not as large as the message is expected to be. */
    ssize_t length = mq_receive(queue, buffer, attributes.mq_msgsize, NULL);
    if (length == -1)
        die("mq_receive");
    printf("into a buffer of mq_msgsize, %ld: %.*s\n", attributes.mq_msgsize, (int)length, buffer);
    return EXIT_SUCCESS;
}
