/* Pitfall: more waits than posts. A semaphore counts; who waits once more than was posted waits for ever.
 *
 *   cc -o more_waits_than_posts more_waits_than_posts.c        (with a C library older than glibc 2.34: and -pthread)
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

int main(void)
{
    sem_t semaphore;
    if (sem_init(&semaphore, 0, 0) == -1)
        die("sem_init");
    for (int i = 1; i <= 2; i++)
        if (sem_post(&semaphore) == -1)
            die("sem_post");
    printf("posted twice\n");

    for (int i = 1; i <= 3; i++) {
        struct timespec deadline;
        if (clock_gettime(CLOCK_REALTIME, &deadline) == -1)
            die("clock_gettime");
        deadline.tv_sec += 1;
        int result = sem_timedwait(&semaphore, &deadline);
        if (result == -1 && errno != ETIMEDOUT)
            die("sem_timedwait");
        printf("wait %d: %s\n", i, result == 0 ? "through" : "ETIMEDOUT; sem_wait would wait for ever");
    }
    return EXIT_SUCCESS;
}
