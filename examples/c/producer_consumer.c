/* Two processes: the parent produces items, the child consumes them. The queue has room for two, so whoever is faster waits
 * for the other. An empty message is the end: it has the same priority as the items, so it comes after them.
 *
 *   cc -o producer_consumer producer_consumer.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ITEMS 8

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void produce(mqd_t queue)
{
    for (int item = 1; item <= ITEMS; item++) {
        char text[64];
        int length = snprintf(text, sizeof text, "item %d", item);
        if (mq_send(queue, text, length, 0) == -1)
            die("mq_send");
    }
    if (mq_send(queue, "", 0, 0) == -1)
        die("mq_send");
}

static void consume(mqd_t queue)
{
    char buffer[64];
    ssize_t length;
    int items = 0;
    while ((length = mq_receive(queue, buffer, sizeof buffer, NULL)) > 0) {
        printf("consumer: %.*s\n", (int)length, buffer);
        items++;
    }
    if (length == -1)
        die("mq_receive");
    printf("consumer: %d items, and then the end\n", items);
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_items";
    struct mq_attr attributes = {.mq_maxmsg = 2, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1) /* the child has it from its parent, by fork, and needs no name */
        die("mq_unlink");

    pid_t child = fork();
    if (child == -1)
        die("fork");
    if (child == 0) {
        consume(queue);
        return EXIT_SUCCESS;
    }
    produce(queue);
    int status;
    if (waitpid(child, &status, 0) == -1)
        die("waitpid");
    printf("producer: sent %d items; the consumer has ended\n", ITEMS);
    return status == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
