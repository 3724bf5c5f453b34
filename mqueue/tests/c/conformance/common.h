/* What the conformance programs share: facts, queues, peers that block, and waiting until they do. A row shows one
 * requirement by printing what it observes, a line `name=value` each. It judges nothing, and does not ask on which
 * implementation it runs, but to find the entry of a queue (row F7). */
#ifndef CONFORMANCE_COMMON_H
#define CONFORMANCE_COMMON_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct row {
    const char *id;
    void (*show)(void);
};
/* One list a file; each ends with a row without a name. */
extern const struct row open_rows[], close_unlink_rows[], send_rows[], receive_rows[], attributes_rows[], notify_rows[],
    delivery_rows[], poll_rows[], descriptors_rows[], limits_rows[], symbols_rows[], processes_rows[], signals_rows[],
    cancellation_rows[];

/* Seconds after which something that must happen has not: a safety net, not a measure. */
#define NET 10
/* A user who is nobody here. */
#define STRANGER 65534
/* The signal of notifications; it queues, so that a second one shows. */
#define NOTICE SIGRTMIN

/* ---- facts ---- */

void fact(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A fact that this machine cannot show, and why. */
void skip(const char *name, const char *reason);
/* "ok", or the name of errno. */
const char *outcome(long result);
const char *errno_name(int error);
_Noreturn void die(const char *what);
/* For what only prepares: ends the program if it fails. */
void must(int holds, const char *what);

/* ---- queues of this row; all their names go at its end ---- */

const char *name_of(int number);
/* Makes it, for reading and writing, mode 0600; `flags` may add O_NONBLOCK. */
mqd_t create(int number, int flags, long maxmsg, long msgsize);
/* What creating or opening says; what it opens is closed again. */
const char *try_create(const char *name, int flags, mode_t mode, long maxmsg, long msgsize);
const char *try_open(const char *name, int flags);
mqd_t open_again(int number, int flags);
const char *put(mqd_t queue, const char *text, unsigned priority);
/* "text/priority", or the name of errno. Lives until the eighth call after this. */
const char *take(mqd_t queue);
/* All that is there, in order; "nothing" if there is none. */
const char *drain(mqd_t queue);
long held(mqd_t queue);
/* Fills it up with messages `old` of priority 1. */
void fill(mqd_t queue);
/* Maximal, message size, flags and number of messages. */
const char *attributes(mqd_t queue);

/* ---- time, by the wall clock ---- */

struct timespec in_ms(long milliseconds);
extern const struct timespec long_ago;
int passed(const struct timespec *deadline);

/* ---- calls that may block, each in a thread or a process of its own ---- */

enum verb { SEND, TIMEDSEND, RECEIVE, TIMEDRECEIVE };
extern const char *const verb_names[4];
struct call {
    enum verb verb;
    mqd_t queue;
    const char *text;                /* to send */
    unsigned priority;               /* to send with */
    const struct timespec *deadline; /* of the timed verbs; NULL is none */
    int nice;                        /* of the caller */
    void (*before)(struct call *);   /* run by the caller, before the call */
    pthread_t thread;
    pid_t process;
    _Atomic pid_t task; /* thread id, once it is about to call */
    _Atomic int done, cleaned;
    char result[96]; /* as of put or take */
};
/* In memory that children share. */
struct call *new_call(enum verb verb, mqd_t queue);
void make(struct call *call);
void in_thread(struct call *call);
void in_process(struct call *call);
/* Waits until the caller sleeps in its call; dies if the call ends instead. */
void until_blocked(struct call *call);
/* Whether it still sleeps there. */
const char *blocked(struct call *call);
/* Waits for its end and says what it was. */
const char *result(struct call *call);
int is_send(enum verb verb);
/* Blocks such a call in a new queue, which is full for those that send. */
struct call *blocked_call(enum verb verb, const struct timespec *deadline, void (*way)(struct call *));
/* Does the other half of it. */
void release_call(struct call *call);
/* Its queue goes. */
void finish_call(struct call *call);
/* The name of a fact about a verb. */
void label(char *text, enum verb verb, const char *what);

/* ---- what poll says ---- */

const char *events_text(int events);
int polled(mqd_t queue);

/* ---- processes ---- */

/* Memory that children share, zeroed. */
void *shared(size_t bytes);
/* A child that runs this part and ends with 0. What it prints is printed. */
pid_t start(void (*part)(void));
/* Waits for its end: "exit 0", "signal KILL". */
const char *end_of(pid_t child);
void run(void (*part)(void));
/* Waits until this thread (0: the first) of the process sleeps, and goes on sleeping, in a call that waits for others. */
void until_asleep(pid_t process, pid_t task);
int sleeps(pid_t process, pid_t task);
/* Waits until the flag is raised; dies after NET. */
void until_set(_Atomic int *flag);
int is_root(void);
void become(uid_t user);
/* A user id of this run alone, so that what it is charged is its own. */
uid_t lonely(void);
/* This program anew, in this process, to show `part` (see main.c) with a descriptor. */
_Noreturn void exec_part(const char *part, int descriptor);

/* ---- notifications ---- */

/* Asks for NOTICE with this value. */
const char *notify(mqd_t queue, int value);
/* The value of the next NOTICE, within NET; "none" if there is none. */
const char *notice(void);
/* As notice, if it is here already. */
const char *notice_now(void);
/* Blocks NOTICE, as every row with notifications does first. */
void expect_notices(void);
/* What registering says in another process, which gives it up at once: EBUSY if the queue has a registration. */
const char *registration(mqd_t queue);
#endif
