/*
 * memtool: a process, or a family of them, whose memory is exactly what was asked for.
 *
 * Its arguments are steps, done in order; after the last one it holds what it has until it is killed.
 * "memtool" alone prints them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1L << 20)
#define POLL_MS 50

static const char usage[] =
	"usage: memtool STEP...\n"
	"  hold MIB           have MIB of anonymous memory more, every page touched\n"
	"  grow MIB MS        the same, one MiB every MS milliseconds\n"
	"  fill PATH MIB      append MIB to a file; on tmpfs they count for the memory cgroup, for no process\n"
	"  flood PATH         append to a file until the kernel's OOM killer has struck, or the space is used up\n"
	"  adj N              set the own oom_score_adj\n"
	"  name NAME          set the own name (15 bytes)\n"
	"  child STEP... end  a child that does these steps; before hold, or both share the pages\n"
	"  wait PATH          wait until a file is there\n"
	"  signal             wait for SIGUSR1\n"
	"  touch PATH         make a file, for others to wait for\n"
	"  say WORD           print a word and what this process holds\n"
	"  sleep MS           wait\n"
	"  exit STATUS        end here\n"
	"After its last step every process keeps what it has until it is killed.\n";

static volatile sig_atomic_t signalled;
static long held;

static void on_signal(int number)
{
	(void)number;
	signalled = 1;
}

/* The first process of a container has no default action for it. */
static void on_term(int number)
{
	(void)number;
	_exit(0);
}

static void fail(const char *what)
{
	fprintf(stderr, "memtool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void misuse(const char *what)
{
	fprintf(stderr, "memtool: %s\n%s", what, usage);
	exit(2);
}

static long number(const char *word)
{
	char *end;
	long value;

	errno = 0;
	value = word ? strtol(word, &end, 10) : 0;
	if (!word || !*word || *end || errno)
		misuse("a step lacks its number");
	return value;
}

static void sleep_ms(long ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	while (nanosleep(&left, &left) && errno == EINTR)
		;
}

static void hold(long mib)
{
	char *memory;

	if (mib <= 0)
		return;
	memory = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	memset(memory, 1, mib * MIB);
	held += mib;
}

/* How many processes the OOM killer has taken since boot. */
static long oom_kills(void)
{
	char line[128];
	long kills = 0;
	FILE *file = fopen("/proc/vmstat", "r");

	if (!file)
		fail("/proc/vmstat");
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "oom_kill %ld", &kills) == 1)
			break;
	fclose(file);
	return kills;
}

/* Appends `mib`; when that is negative, until somebody was killed or the file system is full. */
static void append(const char *path, long mib)
{
	static char block[MIB];
	long written = 0, kills = oom_kills();
	int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);

	if (file < 0)
		fail(path);
	while (mib < 0 ? oom_kills() == kills : written < mib * MIB) {
		ssize_t size = write(file, block, sizeof(block));

		if (size < 0 && errno == ENOSPC && mib < 0)
			break;
		if (size < 0 && errno != EINTR)
			fail(path);
		if (size > 0)
			written += size;
	}
	close(file);
}

static void write_word(const char *path, const char *word)
{
	int file = open(path, O_WRONLY | O_CREAT, 0644);

	if (file < 0 || write(file, word, strlen(word)) < 0)
		fail(path);
	close(file);
}

static char **after_end(char **word)
{
	int depth = 1;

	for (; *word; word++) {
		if (!strcmp(*word, "child"))
			depth++;
		else if (!strcmp(*word, "end") && --depth == 0)
			return word + 1;
	}
	misuse("a child lacks its end");
	return NULL;
}

static void wait_for_signal(void)
{
	sigset_t usr1, before;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_BLOCK, &usr1, &before);
	while (!signalled)
		sigsuspend(&before);
	signalled = 0;
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void run(char **word)
{
	while (*word && strcmp(*word, "end")) {
		const char *step = *word++, *first = *word;

		if (!strcmp(step, "signal")) {
			wait_for_signal();
			continue;
		}
		if (!first)
			misuse("a step lacks its argument");
		if (!strcmp(step, "child")) {
			char **rest = after_end(word);
			pid_t child = fork();

			if (child < 0)
				fail("child");
			if (!child)
				continue;
			word = rest;
			continue;
		}
		word++;
		if (!strcmp(step, "hold")) {
			hold(number(first));
		} else if (!strcmp(step, "grow")) {
			long mib = number(first), ms = number(*word);

			for (; mib > 0; mib--) {
				hold(1);
				sleep_ms(ms);
			}
			word++;
		} else if (!strcmp(step, "fill")) {
			append(first, number(*word));
			word++;
		} else if (!strcmp(step, "flood")) {
			append(first, -1);
		} else if (!strcmp(step, "adj")) {
			write_word("/proc/self/oom_score_adj", first);
		} else if (!strcmp(step, "name")) {
			prctl(PR_SET_NAME, first);
		} else if (!strcmp(step, "wait")) {
			while (access(first, F_OK))
				sleep_ms(POLL_MS);
		} else if (!strcmp(step, "touch")) {
			write_word(first, "");
		} else if (!strcmp(step, "say")) {
			printf("%s: pid %d, %ld MiB\n", first, getpid(), held);
			fflush(stdout);
		} else if (!strcmp(step, "sleep")) {
			sleep_ms(number(first));
		} else if (!strcmp(step, "exit")) {
			exit(number(first));
		} else {
			misuse(step);
		}
	}
}

int main(int count, char **words)
{
	if (count < 2)
		misuse("no steps");
	/* Huge pages would round every size up. */
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	/*
	 * Its own program would be the only page cache of a full container: reclaimed and read again for ever,
	 * each time called progress, so that the killer never ran.
	 */
	if (mlockall(MCL_CURRENT) < 0)
		fail("mlockall");
	signal(SIGUSR1, on_signal);
	signal(SIGTERM, on_term);
	run(words + 1);
	for (;;) {
		if (wait(NULL) < 0 && errno == ECHILD)
			pause();
	}
}
