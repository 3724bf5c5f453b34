/* Two processes, one critical section: both add to one counter that they share. Each reads it, adds one and writes it back;
 * a named semaphore with the value 1 lets only one of them in at a time, so no addition is lost.
 *
 *   cc -o sem_named sem_named.c        (with a C library older than glibc 2.34: and -pthread)
 */
#define _DEFAULT_SOURCE /* for MAP_ANONYMOUS */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ADDITIONS 5000

static void die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void add(const char *name, volatile long *counter)
{
    sem_t *semaphore = sem_open(name, 0); /* by its name, as any other process would */
    if (semaphore == SEM_FAILED)
        die("sem_open");
    for (int i = 0; i < ADDITIONS; i++) {
        if (sem_wait(semaphore) == -1)
            die("sem_wait");
        long number = *counter;
        *counter = number + 1;
        if (sem_post(semaphore) == -1)
            die("sem_post");
    }
    if (sem_close(semaphore) == -1)
        die("sem_close");
}

int main(void)
{
    const char *name = getenv("SEMAPHORE") ? getenv("SEMAPHORE") : "/chappe_example_section";
    long *counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (counter == MAP_FAILED)
        die("mmap");
    sem_t *semaphore = sem_open(name, O_CREAT | O_EXCL, 0600, 1);
    if (semaphore == SEM_FAILED)
        die("sem_open");

    pid_t child = fork();
    if (child == -1)
        die("fork");
    add(name, counter);
    if (child == 0)
        return EXIT_SUCCESS;
    int status;
    if (waitpid(child, &status, 0) == -1 || status != 0)
        die("the child");
    printf("%d additions, the counter says %ld\n", 2 * ADDITIONS, *counter);

    int value;
    if (sem_getvalue(semaphore, &value) == -1)
        die("sem_getvalue");
    printf("the semaphore's value is %d again\n", value);
    if (sem_close(semaphore) == -1 || sem_unlink(name) == -1)
        die("removing the semaphore");
    return EXIT_SUCCESS;
}
