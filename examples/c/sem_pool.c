/* A pool of three permits for eight processes: at most three of them work at a time. One is killed at its work; the others go
 * on, with two permits from then on.
 *
 *   cc -o sem_pool sem_pool.c        (with a C library older than glibc 2.34: and -pthread)
 *
 * How many are inside is not asked of the semaphore: the workers count for themselves.
 */
#define _DEFAULT_SOURCE /* for MAP_ANONYMOUS */
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PERMITS 3
#define WORKERS 8
#define UNLUCKY 2

struct shared {
    sem_t pool;
    atomic_int inside, entered, too_many;
};

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void work(struct shared *shared, int number)
{
    if (sem_wait(&shared->pool) == -1)
        die("sem_wait");
    if (atomic_fetch_add(&shared->inside, 1) >= PERMITS)
        atomic_store(&shared->too_many, 1);
    atomic_fetch_add(&shared->entered, 1);
    nanosleep(&(struct timespec){.tv_nsec = 50 * 1000 * 1000}, NULL); /* the work */
    atomic_fetch_sub(&shared->inside, 1);
    if (number == UNLUCKY)
        raise(SIGKILL);
    if (sem_post(&shared->pool) == -1)
        die("sem_post");
}

int main(void)
{
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    if (sem_init(&shared->pool, 1, PERMITS) == -1)
        die("sem_init");

    for (int number = 1; number <= WORKERS; number++) {
        pid_t worker = fork();
        if (worker == -1)
            die("fork");
        if (worker == 0) {
            work(shared, number);
            _exit(EXIT_SUCCESS);
        }
    }
    int status, killed = 0;
    while (wait(&status) != -1)
        killed += WIFSIGNALED(status);

    int value;
    if (sem_getvalue(&shared->pool, &value) == -1)
        die("sem_getvalue");
    printf("%d workers were inside, %s than %d at a time\n", shared->entered, shared->too_many ? "more" : "never more", PERMITS);
    printf("%d of them was killed at its work\n", killed);
    printf("%d of %d permits are free\n", value, PERMITS);
    return EXIT_SUCCESS;
}
