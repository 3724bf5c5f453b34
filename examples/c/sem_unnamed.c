/* Semaphores without a name, in memory that a parent and its child share. First as signals: one side posts, the other waits.
 * Then as a permit: the child takes it and is killed, and nobody gives it back.
 *
 *   cc -o sem_unnamed sem_unnamed.c        (with a C library older than glibc 2.34: and -pthread)
 */
#define _DEFAULT_SOURCE /* for MAP_ANONYMOUS */
#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct shared {
    sem_t to_child, to_parent, resource;
};

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void post(sem_t *semaphore)
{
    if (sem_post(semaphore) == -1)
        die("sem_post");
}

/* Waits for so many seconds at most; the other side may have died. */
static int wait_for(sem_t *semaphore, int seconds)
{
    struct timespec deadline;
    if (clock_gettime(CLOCK_REALTIME, &deadline) == -1)
        die("clock_gettime");
    deadline.tv_sec += seconds;
    return sem_timedwait(semaphore, &deadline);
}

static void child(struct shared *shared)
{
    if (wait_for(&shared->to_child, 10) == -1)
        die("child: sem_timedwait");
    printf("child: I was signalled, take the resource, and signal back\n");
    if (sem_wait(&shared->resource) == -1)
        die("child: sem_wait");
    post(&shared->to_parent);
    pause(); /* killed here */
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0); /* a line of the child's is out before it is killed, into a pipe, too */
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        die("mmap");
    /* The 1 says: for several processes. Nothing is signalled yet, and one may have the resource at a time. */
    if (sem_init(&shared->to_child, 1, 0) == -1 || sem_init(&shared->to_parent, 1, 0) == -1 ||
        sem_init(&shared->resource, 1, 1) == -1)
        die("sem_init");

    pid_t pid = fork();
    if (pid == -1)
        die("fork");
    if (pid == 0)
        child(shared);

    printf("parent: I signal\n");
    post(&shared->to_child);
    if (wait_for(&shared->to_parent, 10) == -1)
        die("parent: sem_timedwait");
    printf("parent: the child has answered, and I kill it\n");
    if (kill(pid, SIGKILL) == -1 || waitpid(pid, NULL, 0) == -1)
        die("killing the child");
    if (wait_for(&shared->resource, 1) != -1 || errno != ETIMEDOUT)
        die("waiting for the resource");
    printf("parent: the child is dead, and nobody gives the resource back: ETIMEDOUT\n");
    return EXIT_SUCCESS;
}
