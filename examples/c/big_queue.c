/* Creates a queue of so many messages of so many bytes each, says whether it could, and removes it again.
 *
 *   cc -o big_queue big_queue.c        (with a C library older than glibc 2.34: and -lrt)
 *   ./big_queue 1000 65536
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *reason(int error)
{
    switch (error) {
    case EINVAL: return "EINVAL: more than msg_max messages, or more than msgsize_max bytes a message";
    case EMFILE: return "EMFILE: all queues of this user together would take more bytes than ulimit -q";
    case ENOSPC: return "ENOSPC: there are queues_max queues";
    default: perror("mq_open"); exit(EXIT_FAILURE);
    }
}

int main(int argc, char **argv)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_big";
    struct mq_attr attributes = {.mq_maxmsg = argc > 1 ? atol(argv[1]) : 1000, .mq_msgsize = argc > 2 ? atol(argv[2]) : 65536};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1) {
        printf("%ld messages of %ld bytes: %s\n", attributes.mq_maxmsg, attributes.mq_msgsize, reason(errno));
        return EXIT_SUCCESS;
    }
    printf("%ld messages of %ld bytes: created\n", attributes.mq_maxmsg, attributes.mq_msgsize);
    if (mq_close(queue) == -1 || mq_unlink(name) == -1) {
        perror("removing the queue");
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
