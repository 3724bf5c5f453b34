/* Five messages of one priority come out in the order they went in, also when one of higher priority overtakes them all.
 *
 *   cc -o five_same_priority five_same_priority.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void send_text(mqd_t queue, const char *text, unsigned priority)
{
    if (mq_send(queue, text, strlen(text), priority) == -1)
        die("mq_send");
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_five";
    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    if (mq_unlink(name) == -1) /* nobody else is to find it: it lives as long as it is open */
        die("mq_unlink");

    const char *sent[] = {"first", "second", "third", "fourth", "fifth"};
    for (int i = 0; i < 5; i++)
        send_text(queue, sent[i], 3);
    send_text(queue, "overtaker", 4);

    for (int i = 0; i < 6; i++) {
        char buffer[64];
        unsigned priority;
        ssize_t length = mq_receive(queue, buffer, sizeof buffer, &priority);
        if (length == -1)
            die("mq_receive");
        printf("priority %u: %.*s\n", priority, (int)length, buffer);
    }
    if (mq_close(queue) == -1)
        die("mq_close");
    return EXIT_SUCCESS;
}
