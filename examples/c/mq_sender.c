/* Sends messages to a queue, which it creates if there is none, and leaves them there. Run mq_receiver afterwards (or
 * meanwhile).
 *
 *   cc -o mq_sender mq_sender.c            (with a C library older than glibc 2.34: and -lrt)
 *   ./mq_sender                            three messages of its own
 *   ./mq_sender hello 7:urgent 3:soon      or yours, each with a priority if it has one
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

/* "7:text" is "text" with priority 7; anything else is a text with priority 0, the lowest. */
static const char *split(const char *message, unsigned *priority)
{
    char *end;
    *priority = (unsigned)strtoul(message, &end, 10);
    if (end != message && *end == ':')
        return end + 1;
    *priority = 0;
    return message;
}

int main(int argc, char **argv)
{
    const char *own[] = {"1:a low one", "9:an urgent one", "5:one in between"};
    const char **messages = argc > 1 ? (const char **)argv + 1 : own;
    int count = argc > 1 ? argc - 1 : 3;
    const char *name = getenv("QUEUE") ? getenv("QUEUE") : "/chappe_example";

    struct mq_attr attributes = {.mq_maxmsg = 10, .mq_msgsize = 256};
    mqd_t queue = mq_open(name, O_WRONLY | O_CREAT, 0600, &attributes);
    if (queue == (mqd_t)-1)
        die("mq_open");
    for (int i = 0; i < count; i++) {
        unsigned priority;
        const char *text = split(messages[i], &priority);
        if (mq_send(queue, text, strlen(text), priority) == -1)
            die("mq_send");
        printf("sent with priority %u: %s\n", priority, text);
    }
    if (mq_getattr(queue, &attributes) == -1)
        die("mq_getattr");
    printf("%ld messages are waiting in %s\n", attributes.mq_curmsgs, name);
    if (mq_close(queue) == -1)
        die("mq_close");
    return EXIT_SUCCESS;
}
