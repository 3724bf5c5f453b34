/* What the section `kill` of the benchmark asks of a message queue between processes: each contestant is a library with these functions.
 * Nothing is measured here. */
#ifndef QUEUE_H
#define QUEUE_H

#ifdef __cplusplus
extern "C" {
#endif

/* Once in a process, before anything else. `library`: whose mq_* to use; for `mq.c` only. 0, or an errno. */
int q_init(const char *library);

/* What it is made of. */
const char *q_version(void);

/* The name begins with a slash. Null if that failed. */
void *q_create(const char *name, unsigned capacity, unsigned size);
void *q_open(const char *name);

/* The calls that follow may wait until so many milliseconds from now. Apart from them, since what it takes to reckon a deadline is not the
 * queue's affair. */
void q_within(long milliseconds);

/* 0, or an errno: ETIMEDOUT if there was no room within the time. */
int q_send(void *queue, const void *message, unsigned length);

/* The length, or an errno, negated: -ETIMEDOUT if there was no message within the time. */
int q_receive(void *queue, void *buffer, unsigned room);

void q_close(void *queue);
void q_unlink(const char *name);

#ifdef __cplusplus
}
#else

#include <time.h>

/* The time of the wall clock in so many milliseconds. */
static inline struct timespec q_deadline(long milliseconds)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_sec += milliseconds / 1000;
    time.tv_nsec += milliseconds % 1000 * 1000000;
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

#endif
#endif
