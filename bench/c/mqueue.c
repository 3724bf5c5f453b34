/* One program on POSIX queues, measured on the kernel's and with the drop-in preloaded: it knows of neither.
 *
 *   mqueue MODE COUNT SENDER_CPU RECEIVER_CPU DEPTH
 *
 * polled    as pair, on a queue that has been polled once
 * pair      one thread sends 64 bytes and receives them again        prints ns a message
 * stream    one process sends, another receives                     prints messages a second
 * one-way   two processes answer each other; half of the way there and back     prints p50 p99 p99.9 in ns
 * sleeping  one message every 300 us, to a receiver that sleeps by then; from when it was due   prints the same
 * depth     one thread fills a queue of DEPTH with scattered priorities and drains it in order   prints ns a message
 *
 * Every message is checked; one that is wrong ends the program with 1.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 64, INTERVAL = 300000 };

static long count, depth;
static int cpus[2];

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void must(int whole, const char *what)
{
    if (!whole) {
        fprintf(stderr, "wrong: %s\n", what);
        exit(1);
    }
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        die("sched_setaffinity");
}

/* A new queue whose name is gone already. */
static mqd_t queue(void)
{
    char name[64];
    static int made;
    struct mq_attr attr = {.mq_maxmsg = depth, .mq_msgsize = SIZE};
    snprintf(name, sizeof name, "/chappe-bench-c-%d-%d", (int)getpid(), made++);
    mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    if (q == (mqd_t)-1)
        die("mq_open");
    mq_unlink(name);
    return q;
}

static void put(mqd_t q, const uint64_t *message, unsigned priority)
{
    if (mq_send(q, (const char *)message, SIZE, priority) != 0)
        die("mq_send");
}

static unsigned take(mqd_t q, uint64_t *message)
{
    unsigned priority;
    if (mq_receive(q, (char *)message, SIZE, &priority) != SIZE)
        die("mq_receive");
    return priority;
}

/* Memory that a child fills. */
static uint64_t *shared(long words)
{
    void *p = mmap(NULL, (size_t)words * 8, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("mmap");
    return p;
}

static void await(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        must(0, "the other process failed");
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_quantiles(uint64_t *latency, long n)
{
    qsort(latency, (size_t)n, sizeof *latency, compare);
    printf("%lu %lu %lu\n", latency[n / 2], latency[n * 99 / 100], latency[n * 999 / 1000]);
}

static void pairs(mqd_t q)
{
    uint64_t message[SIZE / 8] = {0}, answer[SIZE / 8], start = 0;
    pin(cpus[0]);
    for (long i = -count / 10; i < count; i++) {
        if (i == 0)
            start = now();
        message[0] = (uint64_t)i;
        put(q, message, 0);
        take(q, answer);
        must(answer[0] == message[0], "a message came back changed");
    }
    printf("%.1f\n", (double)(now() - start) / (double)count);
}

static void pair(void)
{
    pairs(queue());
}

static mqd_t polled_queue(void)
{
    mqd_t q = queue();
    struct pollfd look = {.fd = q, .events = POLLIN};
    if (poll(&look, 1, 0) != 0)
        die("poll");
    return q;
}

static void polled(void)
{
    pairs(polled_queue());
}

static void stream(void)
{
    mqd_t q = queue();
    uint64_t message[SIZE / 8] = {0}, start = 0;
    long warm = count / 10;
    pid_t child = fork();
    if (child == 0) {
        pin(cpus[0]);
        for (long i = 0; i < warm + count; i++) {
            message[0] = (uint64_t)i;
            put(q, message, 0);
        }
        _exit(0);
    }
    pin(cpus[1]);
    for (long i = 0; i < warm + count; i++) {
        if (i == warm)
            start = now();
        take(q, message);
        must(message[0] == (uint64_t)i, "a message is missing or out of order");
    }
    printf("%.0f\n", (double)count * 1e9 / (double)(now() - start));
    await(child);
}

static void one_way(void)
{
    mqd_t there = queue(), back = queue();
    uint64_t message[SIZE / 8] = {0}, *latency = shared(count);
    long warm = count / 10;
    pid_t child = fork();
    if (child == 0) {
        pin(cpus[1]);
        for (long i = 0; i < warm + count; i++) {
            take(there, message);
            put(back, message, 0);
        }
        _exit(0);
    }
    pin(cpus[0]);
    for (long i = 0; i < warm + count; i++) {
        message[0] = (uint64_t)i;
        uint64_t start = now();
        put(there, message, 0);
        take(back, message);
        if (i >= warm)
            latency[i - warm] = (now() - start) / 2;
        must(message[0] == (uint64_t)i, "another message came back");
    }
    await(child);
    print_quantiles(latency, count);
}

static void sleeping(void)
{
    mqd_t q = queue();
    uint64_t message[SIZE / 8] = {0}, *latency = shared(count);
    pid_t child = fork();
    if (child == 0) {
        pin(cpus[1]);
        for (long i = 0; i < count; i++) {
            take(q, message);
            latency[i] = now() - message[0];
        }
        _exit(0);
    }
    pin(cpus[0]);
    uint64_t due = now() + 10 * INTERVAL;
    for (long i = 0; i < count; i++, due += INTERVAL) {
        while (now() < due)
            ;
        message[0] = due;
        put(q, message, 0);
    }
    await(child);
    print_quantiles(latency, count);
}

static void fill_and_drain(void)
{
    mqd_t q = queue();
    uint64_t message[SIZE / 8] = {0}, seed = 88172645463325252u, start = 0;
    pin(cpus[0]);
    /* The first time takes the memory. */
    for (long cycle = -1; cycle < count; cycle++) {
        unsigned before = 32768;
        if (cycle == 0)
            start = now();
        for (long i = 0; i < depth; i++) {
            seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
            message[0] = (uint64_t)i;
            put(q, message, (unsigned)(seed >> 20) % 32768);
        }
        for (long i = 0; i < depth; i++) {
            unsigned priority = take(q, message);
            must(priority <= before, "a message came out before one of higher priority");
            before = priority;
        }
    }
    printf("%.1f\n", (double)(now() - start) / (double)(count * depth));
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: %s MODE COUNT SENDER_CPU RECEIVER_CPU DEPTH\n", argv[0]);
        return 2;
    }
    count = atol(argv[2]), cpus[0] = atoi(argv[3]), cpus[1] = atoi(argv[4]), depth = atol(argv[5]);
    const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {
        {"pair", pair}, {"polled", polled}, {"stream", stream}, {"one-way", one_way}, {"sleeping", sleeping}, {"depth", fill_and_drain},
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            return modes[i].run(), 0;
    fprintf(stderr, "%s: no such mode\n", argv[1]);
    return 2;
}
