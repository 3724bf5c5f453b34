/* POSIX message queues: the kernel's, or a library's that has the same calls. */
#define _GNU_SOURCE
#include "queue.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <mqueue.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static mqd_t (*open_)(const char *, int, ...);
static int (*send_)(mqd_t, const char *, size_t, unsigned, const struct timespec *);
static ssize_t (*receive_)(mqd_t, char *, size_t, unsigned *, const struct timespec *);
static int (*close_)(mqd_t);
static int (*unlink_)(const char *);

static struct timespec deadline;

int q_init(const char *library)
{
    void *from = library ? dlopen(library, RTLD_NOW | RTLD_LOCAL) : RTLD_DEFAULT;
    if (library && !from)
        return ENOENT;
    open_ = (mqd_t(*)(const char *, int, ...))dlsym(from, "mq_open");
    send_ = (int (*)(mqd_t, const char *, size_t, unsigned, const struct timespec *))dlsym(from, "mq_timedsend");
    receive_ = (ssize_t(*)(mqd_t, char *, size_t, unsigned *, const struct timespec *))dlsym(from, "mq_timedreceive");
    close_ = (int (*)(mqd_t))dlsym(from, "mq_close");
    unlink_ = (int (*)(const char *))dlsym(from, "mq_unlink");
    return open_ && send_ && receive_ && close_ && unlink_ ? 0 : ENOSYS;
}

const char *q_version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
    return text;
}

/* Descriptor 0 is one, too. */
static void *handle(mqd_t queue)
{
    return queue == (mqd_t)-1 ? NULL : (void *)(intptr_t)(queue + 1);
}

static mqd_t queue_of(void *handle)
{
    return (mqd_t)((intptr_t)handle - 1);
}

void *q_create(const char *name, unsigned capacity, unsigned size)
{
    struct mq_attr attributes = { .mq_maxmsg = capacity, .mq_msgsize = size };
    return handle(open_(name, O_CREAT | O_EXCL | O_RDWR, 0600, &attributes));
}

void *q_open(const char *name)
{
    return handle(open_(name, O_RDWR));
}

void q_within(long milliseconds)
{
    deadline = q_deadline(milliseconds);
}

int q_send(void *queue, const void *message, unsigned length)
{
    return send_(queue_of(queue), message, length, 0, &deadline) ? errno : 0;
}

int q_receive(void *queue, void *buffer, unsigned room)
{
    ssize_t length = receive_(queue_of(queue), buffer, room, NULL, &deadline);
    return length < 0 ? -errno : (int)length;
}

void q_close(void *queue)
{
    close_(queue_of(queue));
}

void q_unlink(const char *name)
{
    unlink_(name);
}
