/* The C side of message queues, for tests/posix_queue.rs: does what each line of its input says and answers with one line,
 * `@ok`, `@` and a value, or `@` and the name of an error. Queues are numbered from 0 as they are opened.
 *
 *   open NAME r|w|rw                     mq_open, blocking
 *   create NAME CAPACITY SIZE            mq_open with O_CREAT | O_EXCL, mode 0600, for both
 *   inherit FD                           a descriptor that came from somebody else
 *   send I PRIORITY TEXT                 mq_send
 *   recv I                               mq_receive: PRIORITY TEXT
 *   timedrecv I MILLISECONDS             mq_timedreceive by the wall clock, from now
 *   attr I                               mq_getattr: CAPACITY SIZE MESSAGES NONBLOCKING
 *   nonblock I 0|1                       mq_setattr
 *   notify I                             mq_notify with SIGEV_NONE: to be registered
 *   unnotify I                           mq_notify with NULL
 *   close I, unlink NAME
 *   ping A B N, pong A B N               N times: send to A, receive from B; or receive from A, send to B
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOST 8

static mqd_t queues[MOST];
static int count;

static int add(mqd_t queue)
{
    if (queue == (mqd_t)-1 || count == MOST)
        return -1;
    queues[count++] = queue;
    return 0;
}

static mqd_t at(long index)
{
    if (index < 0 || index >= count) {
        fprintf(stderr, "there is no queue %ld\n", index);
        exit(2);
    }
    return queues[index];
}

static int create(const char *name, long capacity, long size)
{
    struct mq_attr attributes = {.mq_maxmsg = capacity, .mq_msgsize = size};
    return add(mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attributes));
}

static int open_for(const char *name, const char *how)
{
    return add(mq_open(name, strcmp(how, "r") == 0 ? O_RDONLY : strcmp(how, "w") == 0 ? O_WRONLY : O_RDWR));
}

static void say(int result)
{
    if (result == 0)
        puts("@ok");
    else
        printf("@%s\n", errno == EAGAIN      ? "EAGAIN"
                        : errno == ETIMEDOUT ? "ETIMEDOUT"
                        : errno == EEXIST    ? "EEXIST"
                        : errno == ENOENT    ? "ENOENT"
                        : errno == EBADF     ? "EBADF"
                        : errno == EBUSY     ? "EBUSY"
                        : errno == EMSGSIZE  ? "EMSGSIZE"
                                             : strerror(errno));
}

static void receive(mqd_t queue, long milliseconds)
{
    char text[8193];
    unsigned priority;
    ssize_t length;

    if (milliseconds < 0) {
        length = mq_receive(queue, text, sizeof text - 1, &priority);
    } else {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        long nanoseconds = until.tv_nsec + milliseconds % 1000 * 1000000;
        until.tv_sec += milliseconds / 1000 + nanoseconds / 1000000000;
        until.tv_nsec = nanoseconds % 1000000000;
        length = mq_timedreceive(queue, text, sizeof text - 1, &priority, &until);
    }
    if (length < 0) {
        say(-1);
    } else {
        text[length] = '\0';
        printf("@%u %s\n", priority, text);
    }
}

static int rally(mqd_t to, mqd_t from, int send_first, long rounds)
{
    char buffer[8192];

    for (; rounds > 0; rounds--) {
        if (send_first && mq_send(to, "ball", 4, 1) != 0)
            return -1;
        if (mq_receive(from, buffer, sizeof buffer, NULL) != 4)
            return -1;
        if (!send_first && mq_send(to, "ball", 4, 1) != 0)
            return -1;
    }
    return 0;
}

static void obey(const char *line)
{
    char word[16] = "", text[512], how[4];
    long a = 0, b = 0, c = 0;
    struct mq_attr attributes;

    if (sscanf(line, "open %511s %3s", text, how) == 2)
        say(open_for(text, how));
    else if (sscanf(line, "create %511s %ld %ld", text, &a, &b) == 3)
        say(create(text, a, b));
    else if (sscanf(line, "unlink %511s", text) == 1)
        say(mq_unlink(text));
    else if (sscanf(line, "inherit %ld", &a) == 1)
        say(mq_getattr((mqd_t)a, &attributes) == 0 ? add((mqd_t)a) : -1);
    else if (sscanf(line, "send %ld %ld %511[^\n]", &a, &b, text) == 3)
        say(mq_send(at(a), text, strlen(text), (unsigned)b));
    else if (sscanf(line, "timedrecv %ld %ld", &a, &b) == 2)
        receive(at(a), b);
    else if (sscanf(line, "nonblock %ld %ld", &a, &b) == 2) {
        memset(&attributes, 0, sizeof attributes);
        attributes.mq_flags = b ? O_NONBLOCK : 0;
        say(mq_setattr(at(a), &attributes, NULL));
    } else if (sscanf(line, "ping %ld %ld %ld", &a, &b, &c) == 3)
        say(rally(at(a), at(b), 1, c));
    else if (sscanf(line, "pong %ld %ld %ld", &a, &b, &c) == 3)
        say(rally(at(b), at(a), 0, c));
    else if (sscanf(line, "%15s %ld", word, &a) == 2 && strcmp(word, "recv") == 0)
        receive(at(a), -1);
    else if (strcmp(word, "attr") == 0 && mq_getattr(at(a), &attributes) == 0)
        printf("@%ld %ld %ld %d\n", (long)attributes.mq_maxmsg, (long)attributes.mq_msgsize, (long)attributes.mq_curmsgs,
               (attributes.mq_flags & O_NONBLOCK) != 0);
    else if (strcmp(word, "notify") == 0) {
        struct sigevent event = {.sigev_notify = SIGEV_NONE};
        say(mq_notify(at(a), &event));
    } else if (strcmp(word, "unnotify") == 0)
        say(mq_notify(at(a), NULL));
    else if (strcmp(word, "close") == 0)
        say(mq_close(at(a)));
    else {
        fprintf(stderr, "what is %s", line);
        exit(2);
    }
    fflush(stdout);
}

int main(void)
{
    char line[1024];

    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line);
    return 0;
}
