/*
 * actor: one process of a scenario, told by its arguments what memory to hold.
 *
 *   actor hold KEY=VALUE...   waits for a byte on standard input, takes its memory, writes one byte to
 *                             standard output, and sleeps until it is killed
 *   actor fill FILE BYTES     fills FILE in steps of BYTES, as commands on standard input say
 *
 * Keys of `hold` (numbers in pages unless said otherwise):
 *   name=HEX        what ps shows, any bytes but NUL
 *   anon=N          private memory, written to
 *   huge=N          private memory that asks for huge pages, written to
 *   hugetlb=N       N huge pages (2 MiB) of the pool, written to
 *   file=PATH:N     N pages of PATH mapped and read
 *   shared=PATH:N   N pages of PATH mapped and written to
 *   sparse=N        one page in each of N times 2 MiB: mostly page tables
 *   threads=N       further threads
 *   fork=N          N children that have everything of this one, copied
 *   sharer=PATH     a process that shares this one's memory, in the cgroup directory PATH; may be repeated
 *   vfork=ADJ       a child in vfork, with that oom_score_adj of its own
 *   leader=exit     the first thread leaves, another lives on
 *   pidns=N:ADJ     everything happens in the first process of a new PID namespace; it has N children with
 *                   an oom_score_adj of their own
 *
 * Fill's commands, one a line: "grow N" adds N bytes; "until-kill" goes on until the kernel has killed
 * somebody. It answers "ok", "kill", "full" (the write failed) in one line.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096L
#define HUGE (2L << 20)
#define STACK (64L << 10)
#define SHARERS 8

static const char *sharer_cgroups[SHARERS];
static int sharers, threads, forks, leader_exits;
static const char *pid_namespace;
static const char *vfork_adj;
static atomic_int arrived, *children_ready;

static void die(const char *what)
{
	dprintf(2, "actor: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void ready(void)
{
	if (write(1, "r", 1) != 1)
		die("standard output");
}

static char *map(long bytes, int flags, int fd)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void write_pages(char *at, long pages, long stride)
{
	for (long page = 0; page < pages; page++)
		at[page * stride] = 1;
}

static void hold_anonymous(long pages, int advice)
{
	char *at = map(pages * PAGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	madvise(at, pages * PAGE, advice);
	write_pages(at, pages, PAGE);
}

static void hold_pool(long huge_pages)
{
	write_pages(map(huge_pages * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1), huge_pages, HUGE);
}

static void hold_sparse(long regions)
{
	char *at = map(regions * HUGE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	madvise(at, regions * HUGE, MADV_NOHUGEPAGE);
	write_pages(at, regions, HUGE);
}

static void hold_file(const char *spec, int write)
{
	char *path = strdup(spec), *colon = strrchr(path, ':');
	volatile char sum = 0;
	long pages;
	char *at;
	int fd;

	*colon = '\0';
	pages = atol(colon + 1);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		die(path);
	at = map(pages * PAGE, MAP_SHARED, fd);
	close(fd);
	if (write)
		write_pages(at, pages, PAGE);
	else
		for (long page = 0; page < pages; page++)
			sum += at[page * PAGE];
}

static void set_name(const char *hex)
{
	char name[16] = "";
	unsigned byte;

	for (int i = 0; i < 15 && sscanf(hex + 2 * i, "%2x", &byte) == 1; i++)
		name[i] = (char)byte;
	prctl(PR_SET_NAME, name);
}

static int sharer(void *cgroup)
{
	char procs[4096];

	snprintf(procs, sizeof(procs), "%s/cgroup.procs", (char *)cgroup);
	write_file(procs, "0");
	atomic_fetch_add(&arrived, 1);
	sleep_for_ever();
	return 0;
}

static int vforked(void *adj)
{
	write_file("/proc/self/oom_score_adj", adj);
	ready();
	sleep_for_ever();
	return 0;
}

static void clone_sharing(int (*run)(void *), const char *argument, int flags)
{
	char *stack = map(STACK, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	if (clone(run, stack + STACK, CLONE_VM | flags | SIGCHLD, (void *)argument) < 0)
		die("clone");
}

static int leader_is_gone(void)
{
	char stat[512], *end;
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	ssize_t got = read(fd, stat, sizeof(stat) - 1);

	close(fd);
	if (got < 0)
		die("/proc/self/stat");
	stat[got] = '\0';
	end = strrchr(stat, ')');
	return end && end[2] == 'Z';
}

static void *thread(void *last)
{
	atomic_fetch_add(&arrived, 1);
	if (last && leader_exits) {
		while (!leader_is_gone())
			usleep(1000);
		ready();
	}
	sleep_for_ever();
	return NULL;
}

static void start_threads(void)
{
	pthread_attr_t attributes;
	pthread_t handle;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK);
	for (int i = 0; i < threads; i++)
		if (pthread_create(&handle, &attributes, thread, i == threads - 1 ? "last" : NULL))
			die("pthread_create");
	while (atomic_load(&arrived) < threads)
		usleep(1000);
}

static void fork_children(long count, const char *adj)
{
	for (long i = 0; i < count; i++) {
		pid_t child = fork();

		if (child < 0)
			die("fork");
		if (child == 0) {
			if (adj)
				write_file("/proc/self/oom_score_adj", adj);
			atomic_fetch_add(children_ready, 1);
			sleep_for_ever();
		}
	}
	while (atomic_load(children_ready) < count)
		usleep(1000);
	atomic_store(children_ready, 0);
}

static void enter_pid_namespace(void)
{
	pid_t child;

	if (unshare(CLONE_NEWPID))
		die("unshare");
	child = fork();
	if (child < 0)
		die("fork");
	if (child > 0)
		sleep_for_ever();
}

static void take(const char *key, const char *value)
{
	if (!strcmp(key, "name"))
		set_name(value);
	else if (!strcmp(key, "anon"))
		hold_anonymous(atol(value), MADV_NOHUGEPAGE);
	else if (!strcmp(key, "huge"))
		hold_anonymous(atol(value), MADV_HUGEPAGE);
	else if (!strcmp(key, "hugetlb"))
		hold_pool(atol(value));
	else if (!strcmp(key, "file"))
		hold_file(value, 0);
	else if (!strcmp(key, "shared"))
		hold_file(value, 1);
	else if (!strcmp(key, "sparse"))
		hold_sparse(atol(value));
	else if (!strcmp(key, "threads"))
		threads = atoi(value);
	else if (!strcmp(key, "fork"))
		forks = atoi(value);
	else if (!strcmp(key, "sharer") && sharers < SHARERS)
		sharer_cgroups[sharers++] = value;
	else if (!strcmp(key, "vfork"))
		vfork_adj = value;
	else if (!strcmp(key, "leader"))
		leader_exits = 1;
	else if (strcmp(key, "pidns"))
		errno = EINVAL, die(key);
}

static int hold(char **arguments)
{
	char go;

	if (read(0, &go, 1) != 1)
		die("standard input");
	for (char **each = arguments; *each; each++)
		if (!strncmp(*each, "pidns=", 6)) {
			pid_namespace = *each + 6;
			enter_pid_namespace();
		}
	for (char **each = arguments; *each; each++) {
		char *equals = strchr(*each, '=');

		if (!equals)
			errno = EINVAL, die(*each);
		*equals = '\0';
		take(*each, equals + 1);
	}
	children_ready = (atomic_int *)map(PAGE, MAP_SHARED | MAP_ANONYMOUS, -1);
	fork_children(forks, NULL);
	if (pid_namespace)
		fork_children(atol(pid_namespace), strchr(pid_namespace, ':') + 1);
	start_threads();
	for (int i = 0; i < sharers; i++)
		clone_sharing(sharer, sharer_cgroups[i], 0);
	while (atomic_load(&arrived) < threads + sharers)
		usleep(1000);
	if (vfork_adj)
		clone_sharing(vforked, vfork_adj, CLONE_VFORK);
	if (leader_exits)
		syscall(SYS_exit, 0);
	ready();
	sleep_for_ever();
	return 0;
}

static long kills(void)
{
	static char text[32768];
	static int fd = -1;
	char *at;
	ssize_t got;

	if (fd < 0)
		fd = open("/proc/vmstat", O_RDONLY | O_CLOEXEC);
	got = pread(fd, text, sizeof(text) - 1, 0);
	if (got < 0)
		die("/proc/vmstat");
	text[got] = '\0';
	at = strstr(text, "\noom_kill ");
	return at ? atol(at + 10) : 0;
}

static const char *grow(int fd, long bytes, long step, int until_kill)
{
	static char zeros[1 << 20];
	long before = kills();

	for (long done = 0; until_kill || done < bytes; done += step) {
		if (write(fd, zeros, step) < 0) {
			if (kills() != before)
				return "kill";
			if (ftruncate(fd, 0))
				die("ftruncate");
			return "full";
		}
		if (kills() != before)
			return "kill";
	}
	return "ok";
}

/* An answer takes a page of the pipe, which is charged too: there may be no room until the victim is gone. */
static void answer(const char *text)
{
	while (dprintf(1, "%s\n", text) < 0)
		usleep(1000);
}

static int fill(const char *path, long step)
{
	char line[64];
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		die(path);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "grow ", 5))
			answer(grow(fd, atol(line + 5), step, 0));
		else
			answer(grow(fd, 0, step, 1));
	}
	return 0;
}

int main(int count, char **arguments)
{
	if (count == 4 && !strcmp(arguments[1], "fill"))
		return fill(arguments[2], atol(arguments[3]));
	if (count >= 2 && !strcmp(arguments[1], "hold"))
		return hold(arguments + 2);
	dprintf(2, "usage: actor hold KEY=VALUE... | actor fill FILE BYTES\n");
	return 2;
}
