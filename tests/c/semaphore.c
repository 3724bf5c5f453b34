/* The C side of POSIX semaphores, for tests/posix_semaphore.rs: does what each line of its input says and answers with one
 * line, `@ok`, `@` and a number, or `@` and the name of an error. Semaphores are numbered from 0 as they are opened.
 *
 *   open NAME                            sem_open
 *   create NAME VALUE                    sem_open with O_CREAT | O_EXCL, mode 0600
 *   attach PATH OFFSET                   one that somebody else initialised in a file
 *   init PATH OFFSET PSHARED VALUE       sem_init in a file
 *   post I, wait I, trywait I, value I
 *   timedwait I MILLISECONDS             by the wall clock, from now
 *   ping A B N, pong A B N               N times: post A, wait for B; or wait for A, post B
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MOST 8

static sem_t *semaphores[MOST];
static int count;

static int add(sem_t *semaphore)
{
    if (semaphore == SEM_FAILED || semaphore == NULL || count == MOST)
        return -1;
    semaphores[count++] = semaphore;
    return 0;
}

static sem_t *map(const char *path, long offset)
{
    long page = sysconf(_SC_PAGESIZE), start = offset - offset % page;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *bytes = mmap(NULL, offset - start + sizeof(sem_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, start);
    close(fd);
    return bytes == MAP_FAILED ? NULL : (sem_t *)(bytes + (offset - start));
}

static int init(const char *path, long offset, int pshared, unsigned value)
{
    sem_t *semaphore = map(path, offset);
    return semaphore != NULL && sem_init(semaphore, pshared, value) == 0 ? add(semaphore) : -1;
}

static int timed_wait(sem_t *semaphore, long milliseconds)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    long nanoseconds = until.tv_nsec + milliseconds % 1000 * 1000000;
    until.tv_sec += milliseconds / 1000 + nanoseconds / 1000000000;
    until.tv_nsec = nanoseconds % 1000000000;
    return sem_timedwait(semaphore, &until);
}

static int rally(sem_t *post, sem_t *wait, int post_first, long rounds)
{
    for (; rounds > 0; rounds--) {
        if (post_first && sem_post(post) != 0)
            return -1;
        if (sem_wait(wait) != 0)
            return -1;
        if (!post_first && sem_post(post) != 0)
            return -1;
    }
    return 0;
}

static void say(int result)
{
    if (result == 0)
        puts("@ok");
    else
        printf("@%s\n", errno == EAGAIN      ? "EAGAIN"
                        : errno == ETIMEDOUT ? "ETIMEDOUT"
                        : errno == EEXIST    ? "EEXIST"
                        : errno == ENOENT    ? "ENOENT"
                        : errno == EOVERFLOW ? "EOVERFLOW"
                                             : strerror(errno));
}

static sem_t *at(int index)
{
    if (index < 0 || index >= count) {
        fprintf(stderr, "there is no semaphore %d\n", index);
        exit(2);
    }
    return semaphores[index];
}

static void obey(const char *line)
{
    char word[16] = "", text[512];
    long a = 0, b = 0, c = 0;
    int value;

    if (sscanf(line, "open %511s", text) == 1)
        say(add(sem_open(text, 0)));
    else if (sscanf(line, "create %511s %ld", text, &a) == 2)
        say(add(sem_open(text, O_CREAT | O_EXCL, 0600, (unsigned)a)));
    else if (sscanf(line, "attach %511s %ld", text, &a) == 2)
        say(add(map(text, a)));
    else if (sscanf(line, "init %511s %ld %ld %ld", text, &a, &b, &c) == 4)
        say(init(text, a, (int)b, (unsigned)c));
    else if (sscanf(line, "ping %ld %ld %ld", &a, &b, &c) == 3)
        say(rally(at(a), at(b), 1, c));
    else if (sscanf(line, "pong %ld %ld %ld", &a, &b, &c) == 3)
        say(rally(at(b), at(a), 0, c));
    else if (sscanf(line, "timedwait %ld %ld", &a, &b) == 2)
        say(timed_wait(at(a), b));
    else if (sscanf(line, "value %ld", &a) == 1 && sem_getvalue(at(a), &value) == 0)
        printf("@%d\n", value);
    else if (sscanf(line, "%15s %ld", word, &a) == 2 && strcmp(word, "post") == 0)
        say(sem_post(at(a)));
    else if (strcmp(word, "wait") == 0)
        say(sem_wait(at(a)));
    else if (strcmp(word, "trywait") == 0)
        say(sem_trywait(at(a)));
    else {
        fprintf(stderr, "what is %s", line);
        exit(2);
    }
    fflush(stdout);
}

int main(void)
{
    char line[1024];

    while (fgets(line, sizeof line, stdin) != NULL)
        obey(line);
    return 0;
}
