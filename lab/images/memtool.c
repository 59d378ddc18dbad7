/* memtool: processes of known memory, for workloads that run into their limits.

   Its arguments are steps, done in order; after the last it waits for ever:

     name TEXT      call itself TEXT (15 bytes)
     adj N          write N into its own oom_score_adj
     hold MIB       touch that much anonymous memory and keep it
     grow MIB MS    the same, a MiB each MS milliseconds
     wait FILE      until FILE exists
     flood FILE     write zeros into FILE until the kernel kills somebody or the write fails, then empty it:
                    in a tmpfs these pages are charged to the cgroup but are part of nobody's badness
     say TEXT       print a line
     child STEP... end    fork a process that does these steps
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
#include <unistd.h>

enum { MIB = 1 << 20 };

static void fail(const char *what)
{
	fprintf(stderr, "memtool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void touch_one_mib(void)
{
	void *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fail("mmap");
	memset(memory, 1, MIB);
}

static void hold(long mib, long milliseconds)
{
	while (mib-- > 0) {
		touch_one_mib();
		if (milliseconds)
			usleep(milliseconds * 1000);
	}
}

static void set_adj(const char *adj)
{
	int file = open("/proc/self/oom_score_adj", O_WRONLY);

	if (file < 0 || write(file, adj, strlen(adj)) < 0)
		fail("oom_score_adj");
	close(file);
}

static long oom_kills(void)
{
	static char text[16384];
	int file = open("/proc/vmstat", O_RDONLY);
	ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
	char *line;

	if (size < 0)
		fail("/proc/vmstat");
	close(file);
	text[size] = 0;
	line = strstr(text, "\noom_kill ");
	return line ? atol(line + strlen("\noom_kill ")) : 0;
}

static void flood(const char *path)
{
	static const char zeros[1 << 16];
	long before = oom_kills();
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (file < 0)
		fail(path);
	while (oom_kills() == before && write(file, zeros, sizeof zeros) > 0)
		;
	if (ftruncate(file, 0))
		fail(path);
	close(file);
}

static char *argument(char **steps)
{
	if (!*steps) {
		fprintf(stderr, "memtool: the last step lacks an argument\n");
		exit(2);
	}
	return *steps;
}

/* The step after the `end` that closes a child's steps. */
static char **past_end(char **steps)
{
	int depth = 1;

	for (; depth; steps++) {
		depth += !strcmp(argument(steps), "child");
		depth -= !strcmp(*steps, "end");
	}
	return steps;
}

static void wait_for_ever(void)
{
	for (;;)
		if (wait(NULL) < 0)
			pause();
}

static void perform(char **steps)
{
	while (*steps && strcmp(*steps, "end")) {
		const char *step = *steps++;

		if (!strcmp(step, "name")) {
			prctl(PR_SET_NAME, argument(steps++));
		} else if (!strcmp(step, "adj")) {
			set_adj(argument(steps++));
		} else if (!strcmp(step, "hold")) {
			hold(atol(argument(steps++)), 0);
		} else if (!strcmp(step, "grow")) {
			long mib = atol(argument(steps++));

			hold(mib, atol(argument(steps++)));
		} else if (!strcmp(step, "wait")) {
			while (access(argument(steps), F_OK))
				usleep(100000);
			steps++;
		} else if (!strcmp(step, "flood")) {
			flood(argument(steps++));
		} else if (!strcmp(step, "say")) {
			puts(argument(steps++));
			fflush(stdout);
		} else if (!strcmp(step, "child")) {
			pid_t child = fork();

			if (child < 0)
				fail("fork");
			if (!child) {
				perform(steps);
				wait_for_ever();
			}
			steps = past_end(steps);
		} else {
			fprintf(stderr, "memtool: no step is called '%s'\n", step);
			exit(2);
		}
	}
}

static void leave(int signal)
{
	(void)signal;
	_exit(0);
}

int main(int count, char **steps)
{
	(void)count;
	signal(SIGTERM, leave);
	perform(steps + 1);
	wait_for_ever();
}
