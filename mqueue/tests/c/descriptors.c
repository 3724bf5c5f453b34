/* What a program may do with descriptors beside the queue's own calls: `descriptors CASE`. Each case asserts what it finds and prints
 * "done"; it creates its own queue. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what)                                                                                                                    \
    do {                                                                                                                               \
        if (!(what)) {                                                                                                                 \
            fprintf(stderr, "%s:%d: not so: %s (errno %s)\n", __FILE__, __LINE__, #what, strerrorname_np(errno));                      \
            exit(1);                                                                                                                   \
        }                                                                                                                              \
    } while (0)

static mqd_t create(void)
{
    struct mq_attr attributes = {.mq_maxmsg = 4, .mq_msgsize = 32};
    mqd_t queue = mq_open("/q", O_CREAT | O_RDWR | O_NONBLOCK, 0600, &attributes);
    CHECK(queue >= 0);
    return queue;
}

static void send_and_receive(mqd_t queue)
{
    char buffer[32];
    CHECK(mq_send(queue, "ab", 2, 3) == 0);
    CHECK(mq_receive(queue, buffer, sizeof buffer, NULL) == 2);
}

static void ignore(union sigval value)
{
    (void)value;
}

/* A child of vfork closes everything that it inherited, as programs do before exec: its parent goes on as before, registered. */
static void vfork_child_closes(void)
{
    mqd_t queue = create();
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = ignore};
    CHECK(mq_notify(queue, &event) == 0);
    pid_t child = vfork();
    if (child == 0) {
        close(queue);
        close_range(3, ~0U, 0);
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(mq_notify(queue, &event) == -1 && errno == EBUSY);
    send_and_receive(queue);
}

/* A number that was closed in a way that nobody can see, and used again for a file, is the file's. */
static void number_used_again(void)
{
    mqd_t queue = create();
    int zero = open("/dev/zero", O_RDWR), file = queue;
    CHECK(syscall(SYS_dup3, zero, queue, 0) == file);
    char buffer[8] = "xxxxxxx";
    CHECK(read(file, buffer, sizeof buffer) == sizeof buffer && buffer[0] == 0);
    CHECK(write(file, buffer, sizeof buffer) == sizeof buffer);
    struct stat facts;
    CHECK(fstat(file, &facts) == 0 && S_ISCHR(facts.st_mode));
    CHECK(mq_getattr(file, &(struct mq_attr){0}) == -1 && errno == EBADF);
}

/* Pipes and files are left alone while a queue is open. */
static void others_are_left_alone(void)
{
    mqd_t queue = create();
    int ends[2], spare;
    char buffer[8];
    struct stat facts;
    CHECK(pipe(ends) == 0);
    struct pollfd polled[] = {{ends[0], POLLIN, 0}, {ends[1], POLLOUT, 0}, {queue, POLLIN | POLLOUT, 0}};
    CHECK(poll(polled, 3, 0) == 2 && !polled[0].revents && polled[1].revents == POLLOUT && polled[2].revents == POLLOUT);
    CHECK(write(ends[1], "pipe", 4) == 4);
    CHECK(poll(polled, 3, 0) == 3 && polled[0].revents == POLLIN);
    CHECK(read(ends[0], buffer, sizeof buffer) == 4 && !memcmp(buffer, "pipe", 4));
    CHECK(fstat(ends[0], &facts) == 0 && S_ISFIFO(facts.st_mode));
    CHECK(lseek(ends[0], 0, SEEK_SET) == -1 && errno == ESPIPE);
    CHECK(mq_send(ends[1], "x", 1, 0) == -1 && errno == EBADF);
    CHECK(mq_notify(ends[0], NULL) == -1 && errno == EBADF);
    /* A queue takes the pipe's number, then the pipe the queue's. */
    CHECK((spare = dup(queue)) >= 0);
    CHECK(dup2(queue, ends[0]) == ends[0]);
    send_and_receive(ends[0]);
    CHECK(dup2(ends[1], queue) == queue);
    CHECK(mq_send(queue, "x", 1, 0) == -1 && errno == EBADF);
    send_and_receive(spare);
    CHECK(dup2(-1, spare) == -1 && errno == EBADF);
    send_and_receive(spare);
    CHECK(close(spare) == 0 && close(spare) == -1 && errno == EBADF);
    CHECK(mq_send(spare, "x", 1, 0) == -1 && errno == EBADF);
}

/* All at once, as daemons do: the queue's descriptors and the library's own. */
static void everything_is_closed(void)
{
    mqd_t queue = create();
    struct pollfd polled = {queue, POLLIN, 0};
    CHECK(poll(&polled, 1, 0) == 0);
    for (int fd = 3; fd < 256; fd++)
        close(fd);
    CHECK(mq_send(queue, "x", 1, 0) == -1 && errno == EBADF);
    int files[64];
    for (int i = 0; i < 64; i++)
        CHECK((files[i] = open("/dev/null", O_RDONLY)) >= 0);
    for (int turn = 0; turn < 3; turn++) {
        mqd_t again = create();
        send_and_receive(again);
        CHECK(mq_close(again) == 0);
    }
    for (int i = 0; i < 64; i++)
        CHECK(fcntl(files[i], F_GETFD) >= 0);
    closefrom(3);
    CHECK(fcntl(files[0], F_GETFD) == -1 && errno == EBADF);
    send_and_receive(create());
}

/* The last descriptor that was used goes, one that never was stays: the queue, which has no name any more, is found by it. */
static void duplicate_of_a_queue_without_a_name(void)
{
    mqd_t queue = create();
    int other = fcntl(queue, F_DUPFD_CLOEXEC, 100);
    CHECK(other == 100);
    CHECK(mq_send(queue, "kept", 4, 0) == 0);
    CHECK(mq_unlink("/q") == 0);
    CHECK(mq_close(queue) == 0);
    char buffer[32];
    CHECK(mq_receive(other, buffer, sizeof buffer, NULL) == 4 && !memcmp(buffer, "kept", 4));
    CHECK(mq_close(other) == 0);
    CHECK(mq_open("/q", O_RDWR) == -1 && errno == ENOENT);
}

/* More descriptors than one part of the table holds. */
static void high_numbers(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int top = limit.rlim_max > 70000 ? 70000 : (int)limit.rlim_max - 1;
    mqd_t queue = create();
    int high = fcntl(queue, F_DUPFD, top);
    CHECK(high >= top);
    send_and_receive(high);
    CHECK(mq_close(queue) == 0);
    send_and_receive(high);
    CHECK(close(high) == 0 && mq_send(high, "x", 1, 0) == -1 && errno == EBADF);
}

static volatile int over;

static void *use(void *argument)
{
    (void)argument;
    char buffer[32];
    while (!over) {
        /* Whatever the number is at the moment. */
        mq_send(20, "stress", 6, 1);
        ssize_t length = mq_receive(20, buffer, sizeof buffer, NULL);
        CHECK(length == -1 || (length == 6 && !memcmp(buffer, "stress", 6)));
        CHECK(length != -1 || errno == EBADF || errno == EAGAIN);
        poll(&(struct pollfd){20, POLLIN, 0}, 1, 0);
    }
    return NULL;
}

/* Threads use a number while others close it and open it anew. */
static void closed_while_it_is_used(void)
{
    pthread_t users[3];
    mqd_t queue = create();
    CHECK(dup2(queue, 20) == 20);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&users[i], NULL, use, NULL) == 0);
    for (int turn = 0; turn < 2000; turn++) {
        mqd_t other = create();
        CHECK(dup2(turn % 3 ? other : 0, 20) == 20);
        CHECK(mq_close(queue) == 0);
        queue = other;
        if (turn % 5 == 0)
            close(20);
    }
    over = 1;
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(users[i], NULL) == 0);
    close(20);
    send_and_receive(queue);
}

static mqd_t handled;

static void close_it(int signal)
{
    (void)signal;
    close(handled);
}

/* A signal handler closes the descriptor under a loop of calls. */
static void closed_by_a_handler(void)
{
    signal(SIGALRM, close_it);
    for (int turn = 0; turn < 200; turn++) {
        mqd_t spare = create();
        handled = create();
        struct itimerspec soon = {.it_value.tv_nsec = 1 + turn * 2000};
        timer_t timer;
        CHECK(timer_create(CLOCK_MONOTONIC, NULL, &timer) == 0 && timer_settime(timer, 0, &soon, NULL) == 0);
        char buffer[32];
        while (mq_send(handled, "x", 1, 0) == 0 && mq_receive(handled, buffer, sizeof buffer, NULL) == 1)
            ;
        CHECK(errno == EBADF);
        CHECK(timer_delete(timer) == 0);
        while (mq_receive(spare, buffer, sizeof buffer, NULL) >= 0)
            ;
        send_and_receive(spare);
        CHECK(mq_close(spare) == 0);
    }
}

/* The count that programs give to select is often that of all descriptors there may be; the kernel looks at those that are. */
static void select_of_all_there_may_be(void)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    mqd_t queue = create();
    CHECK(mq_send(queue, "x", 1, 0) == 0);
    /* The set is the last thing before memory that is not there. */
    long page = sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && mprotect(pages + page, (size_t)page, PROT_NONE) == 0);
    fd_set *set = (fd_set *)(pages + page - sizeof *set);
    FD_SET(queue, set);
    struct timeval now = {0};
    CHECK(select(getdtablesize(), set, NULL, NULL, &now) == 1 && FD_ISSET(queue, set));
}

/* The first thread ends, and the process with it: the library's threads are none of the program's. */
static void the_last_thread_ends(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct pollfd polled = {.fd = create(), .events = POLLIN};
        poll(&polled, 1, 0);
        pthread_exit(NULL);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* A set that was made before a fork, as by a program that becomes a daemon: whoever waits in it is woken, though the one who filled it
 * has nothing to do with the queue any more. */
static void a_set_that_was_inherited(void)
{
    mqd_t queue = create();
    int set = epoll_create1(EPOLL_CLOEXEC), ends[2];
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, queue, &event) == 0 && pipe(ends) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        /* The parent has closed it. */
        CHECK(read(ends[0], &byte, 1) == 1);
        /* Looks, so that it has armed, and lets the other one send. */
        CHECK(epoll_wait(set, &event, 1, 0) == 0);
        pid_t sender = fork();
        CHECK(sender >= 0);
        if (sender == 0) {
            mqd_t other = mq_open("/q", O_WRONLY);
            _exit(other < 0 || mq_send(other, "x", 1, 0) != 0);
        }
        int status;
        CHECK(epoll_wait(set, &event, 1, 30000) == 1 && waitpid(sender, &status, 0) == sender && status == 0);
        _exit(0);
    }
    CHECK(mq_close(queue) == 0 && write(ends[1], "x", 1) == 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* Where no doorbell can be armed poll says so, and does not sleep beside a message. */
static void poll_that_cannot_arm(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        mqd_t queue = create();
        CHECK(mq_send(queue, "x", 1, 0) == 0);
        struct rlimit none = {0};
        /* Root is not limited. */
        CHECK(geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0));
        CHECK(setrlimit(RLIMIT_NPROC, &none) == 0);
        struct pollfd polled = {.fd = queue, .events = POLLIN};
        CHECK(poll(&polled, 1, 30000) == -1 && errno == ENOMEM);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void end_here(int signal)
{
    _exit(signal == SIGBUS ? 0 : 1);
}

/* A queue whose file somebody has shortened is damaged, and nothing worse; the program's own SIGBUS is its own. */
static void a_file_that_is_shortened(void)
{
    struct sigaction own = {.sa_handler = end_here};
    CHECK(sigaction(SIGBUS, &own, NULL) == 0);
    mqd_t queue = create();
    char path[4096], buffer[32];
    snprintf(path, sizeof path, "%s/chappe.mq.q", getenv("CHAPPE_DIR"));
    CHECK(mq_send(queue, "x", 1, 0) == 0 && truncate(path, 0) == 0);
    CHECK(mq_receive(queue, buffer, sizeof buffer, NULL) == -1 && (errno == EBADMSG || errno == EAGAIN));
    CHECK(mq_receive(queue, buffer, sizeof buffer, NULL) == -1 && errno == EBADMSG);
    CHECK(mq_send(queue, "x", 1, 0) == -1 && errno == EBADMSG);
    CHECK(mq_close(queue) == 0);
    char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, open(path, O_RDWR), 0);
    CHECK(page != MAP_FAILED);
    puts("done");
    fflush(stdout);
    _exit(2 + *(volatile char *)page);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    {"vfork_child_closes", vfork_child_closes},
    {"number_used_again", number_used_again},
    {"others_are_left_alone", others_are_left_alone},
    {"everything_is_closed", everything_is_closed},
    {"duplicate_of_a_queue_without_a_name", duplicate_of_a_queue_without_a_name},
    {"high_numbers", high_numbers},
    {"closed_while_it_is_used", closed_while_it_is_used},
    {"closed_by_a_handler", closed_by_a_handler},
    {"select_of_all_there_may_be", select_of_all_there_may_be},
    {"the_last_thread_ends", the_last_thread_ends},
    {"a_set_that_was_inherited", a_set_that_was_inherited},
    {"poll_that_cannot_arm", poll_that_cannot_arm},
    {"a_file_that_is_shortened", a_file_that_is_shortened},
};

int main(int count, char **words)
{
    for (size_t i = 0; count == 2 && i < sizeof cases / sizeof *cases; i++) {
        if (!strcmp(words[1], cases[i].name)) {
            cases[i].run();
            puts("done");
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}
