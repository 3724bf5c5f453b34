/* Pitfall: a queue outlives the program that created it. The next run finds the old one, with its messages and its size.
 *
 *   cc -o forgotten_unlink forgotten_unlink.c        (with a C library older than glibc 2.34: and -lrt)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static mqd_t create(const char *name, long messages)
{
    struct mq_attr attributes = {.mq_maxmsg = messages, .mq_msgsize = 64};
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    return queue;
}

static void send_text(mqd_t queue, const char *text)
{
    if (mq_send(queue, text, strlen(text), 0) == -1)
        die("mq_send");
}

int main(void)
{
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example_forgotten";
    pid_t first = fork();
    if (first == -1)
        die("fork");
    if (first == 0) { /* the first run: ends without mq_unlink */
        send_text(create(name, 2), "of the first run");
        _exit(EXIT_SUCCESS);
    }
    int status;
    if (waitpid(first, &status, 0) == -1 || status != 0)
        die("the first run");

    mqd_t queue = create(name, 8); /* the second run: asks for more room, and gets the old queue */
    send_text(queue, "of the second run");
    struct mq_attr attributes;
    if (mq_getattr(queue, &attributes) == -1)
        die("mq_getattr");
    printf("asked for room for 8, got room for %ld\n", attributes.mq_maxmsg);
    char buffer[64];
    ssize_t length = mq_receive(queue, buffer, sizeof buffer, NULL);
    if (length == -1)
        die("mq_receive");
    printf("the first message is %.*s\n", (int)length, buffer);

    /* O_EXCL tells. */
    if (mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL) != (mqd_t)-1 || errno != EEXIST)
        die("mq_open with O_EXCL");
    printf("with O_EXCL: EEXIST\n");
    if (mq_unlink(name) == -1)
        die("mq_unlink");
    if (mq_open(name, O_RDWR) != (mqd_t)-1 || errno != ENOENT)
        die("mq_open after mq_unlink");
    printf("after mq_unlink: ENOENT\n");
    return EXIT_SUCCESS;
}
