/* Pitfall: a semaphore for threads (pshared 0) between processes. In ordinary memory each process has one of its own. In shared
 * memory both see one number, but whoever sleeps is not woken.
 *
 *   cc -o pshared_zero pshared_zero.c        (with a C library older than glibc 2.34: and -pthread)
 */
#define _DEFAULT_SOURCE /* for MAP_ANONYMOUS */
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Until the parent sleeps, as the kernel says: the state that follows the name in brackets. */
static void parent_sleeps(void)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)getppid());
    while (state != 'S') {
        FILE *stat = fopen(path, "r");
        if (stat == NULL || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1)
            die(path);
        fclose(stat);
    }
}

static int value(sem_t *semaphore)
{
    int value;
    if (sem_getvalue(semaphore, &value) == -1)
        die("sem_getvalue");
    return value;
}

/* The parent waits, so many seconds at most; its child posts meanwhile. */
static void wait_for_child(const char *where, sem_t *semaphore, int pshared, int seconds)
{
    if (sem_init(semaphore, pshared, 0) == -1)
        die("sem_init");
    struct timespec deadline;
    if (clock_gettime(CLOCK_REALTIME, &deadline) == -1)
        die("clock_gettime");
    deadline.tv_sec += seconds;

    pid_t child = fork();
    if (child == -1)
        die("fork");
    if (child == 0) {
        parent_sleeps();
        _exit(sem_post(semaphore) == -1);
    }
    int result = sem_timedwait(semaphore, &deadline);
    if (result == -1 && errno != ETIMEDOUT)
        die("sem_timedwait");
    if (waitpid(child, NULL, 0) == -1)
        die("waitpid");
    printf("%s, pshared %d: the child posted, the parent %s, the value is %d\n", where, pshared,
           result == -1 ? "slept on (ETIMEDOUT)" : "was woken", value(semaphore));
}

int main(void)
{
    static sem_t ordinary;
    sem_t *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    setvbuf(stdout, NULL, _IOLBF, 0);
    wait_for_child("ordinary memory", &ordinary, 0, 1);
    wait_for_child("ordinary memory", &ordinary, 1, 1);
    wait_for_child("shared memory", shared, 0, 1);
    wait_for_child("shared memory", shared, 1, 10);
    return EXIT_SUCCESS;
}
