/* A queue in shared memory as one would write it: a ring of slots, a mutex between processes, two condition variables.
 *
 * ROBUST: the mutex is robust. Who finds that its owner died makes it consistent and wakes everybody, since the dead one may have been
 * about to wake somebody.
 * ONE_WORD: what is in the queue follows from two counters that only rise, so that each operation takes effect by one store, after the
 * bytes. Without it the ring is the one of the textbooks: head, tail and count. */
#define _GNU_SOURCE
#include "queue.h"
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct slot {
    uint32_t length;
    unsigned char bytes[];
};

struct ring {
    pthread_mutex_t lock;
    pthread_cond_t not_empty, not_full;
    uint32_t capacity, size;
    uint32_t head, tail;
#ifndef ONE_WORD
    uint32_t count;
#endif
    unsigned char slots[] __attribute__((aligned(8)));
};

static struct timespec deadline;

/* What a process keeps. */
struct queue {
    struct ring *ring;
    size_t mapped;
};

static size_t slot_size(uint32_t size)
{
    return (sizeof(struct slot) + size + 7) & ~(size_t)7;
}

static size_t ring_size(uint32_t capacity, uint32_t size)
{
    return sizeof(struct ring) + capacity * slot_size(size);
}

#ifdef ONE_WORD

static uint32_t count(const struct ring *ring)
{
    return ring->tail - ring->head;
}

static struct slot *slot(struct ring *ring, uint32_t number)
{
    return (struct slot *)(ring->slots + number % ring->capacity * slot_size(ring->size));
}

static void sent(struct ring *ring)
{
    __atomic_store_n(&ring->tail, ring->tail + 1, __ATOMIC_RELEASE);
}

static void received(struct ring *ring)
{
    __atomic_store_n(&ring->head, ring->head + 1, __ATOMIC_RELEASE);
}

#else

static uint32_t count(const struct ring *ring)
{
    return ring->count;
}

static struct slot *slot(struct ring *ring, uint32_t number)
{
    return (struct slot *)(ring->slots + number * slot_size(ring->size));
}

static void sent(struct ring *ring)
{
    ring->tail = (ring->tail + 1) % ring->capacity;
    ring->count++;
}

static void received(struct ring *ring)
{
    ring->head = (ring->head + 1) % ring->capacity;
    ring->count--;
}

#endif

/* After locking, and after waiting, which locks again. */
static int locked(struct ring *ring, int result)
{
#ifdef ROBUST
    if (result == EOWNERDEAD) {
        pthread_mutex_consistent(&ring->lock);
        pthread_cond_broadcast(&ring->not_empty);
        pthread_cond_broadcast(&ring->not_full);
        return 0;
    }
#endif
    (void)ring;
    return result;
}

static int lock(struct ring *ring)
{
    return locked(ring, pthread_mutex_timedlock(&ring->lock, &deadline));
}

int q_init(const char *library)
{
    (void)library;
    return 0;
}

const char *q_version(void)
{
    static char text[32];
    snprintf(text, sizeof text, "glibc %s", gnu_get_libc_version());
    return text;
}

static void set_up(struct ring *ring, uint32_t capacity, uint32_t size)
{
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;
    pthread_mutexattr_init(&mutex);
    pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
#ifdef ROBUST
    pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
#endif
    pthread_condattr_init(&condition);
    pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&ring->lock, &mutex);
    pthread_cond_init(&ring->not_empty, &condition);
    pthread_cond_init(&ring->not_full, &condition);
    ring->capacity = capacity;
    ring->size = size;
}

static struct queue *map(int file, size_t size)
{
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED)
        return NULL;
    struct queue *queue = malloc(sizeof *queue);
    *queue = (struct queue){ .ring = mapped, .mapped = size };
    return queue;
}

void *q_create(const char *name, unsigned capacity, unsigned size)
{
    int file = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (file < 0)
        return NULL;
    size_t bytes = ring_size(capacity, size);
    if (ftruncate(file, bytes)) {
        close(file);
        return NULL;
    }
    struct queue *queue = map(file, bytes);
    if (queue)
        set_up(queue->ring, capacity, size);
    return queue;
}

void *q_open(const char *name)
{
    int file = shm_open(name, O_RDWR, 0);
    struct stat stat;
    if (file < 0)
        return NULL;
    if (fstat(file, &stat)) {
        close(file);
        return NULL;
    }
    return map(file, stat.st_size);
}

void q_within(long milliseconds)
{
    deadline = q_deadline(milliseconds);
}

int q_send(void *queue, const void *message, unsigned length)
{
    struct ring *ring = ((struct queue *)queue)->ring;
    if (length > ring->size)
        return EMSGSIZE;
    int result = lock(ring);
    if (result)
        return result;
    while (count(ring) == ring->capacity && !result)
        result = locked(ring, pthread_cond_timedwait(&ring->not_full, &ring->lock, &deadline));
    if (count(ring) < ring->capacity) {
        struct slot *place = slot(ring, ring->tail);
        place->length = length;
        memcpy(place->bytes, message, length);
        sent(ring);
        pthread_cond_signal(&ring->not_empty);
        result = 0;
    }
    pthread_mutex_unlock(&ring->lock);
    return result;
}

int q_receive(void *queue, void *buffer, unsigned room)
{
    struct ring *ring = ((struct queue *)queue)->ring;
    int result = lock(ring);
    if (result)
        return -result;
    while (count(ring) == 0 && !result)
        result = locked(ring, pthread_cond_timedwait(&ring->not_empty, &ring->lock, &deadline));
    result = -result;
    if (count(ring) > 0) {
        struct slot *place = slot(ring, ring->head);
        result = -EMSGSIZE;
        if (place->length <= room) {
            result = place->length;
            memcpy(buffer, place->bytes, result);
            received(ring);
            pthread_cond_signal(&ring->not_full);
        }
    }
    pthread_mutex_unlock(&ring->lock);
    return result;
}

void q_close(void *queue)
{
    struct queue *mine = queue;
    munmap(mine->ring, mine->mapped);
    free(mine);
}

void q_unlink(const char *name)
{
    shm_unlink(name);
}
