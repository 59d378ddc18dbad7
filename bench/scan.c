/*
 * What reading every process costs in C. For each byte on standard input one look at /proc, and one line with
 * the processor time it took, in nanoseconds.
 *
 *   a   all files of each process: stat, status, statm, oom_score_adj, cgroup, opened, read, their numbers parsed
 *   k   what is left of it to a look that keeps descriptors: stat and oom_score_adj read again
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PIDS (1 << 22)

static int kept_stat[PIDS], kept_adj[PIDS];
static char text[1 << 16];
static volatile long sum;

static long read_file(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	long got;

	if (fd < 0)
		return -1;
	got = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (got >= 0)
		text[got] = '\0';
	return got;
}

static long read_again(int *fd, int dir, const char *name)
{
	long got;

	if (!*fd)
		*fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	got = pread(*fd, text, sizeof(text) - 1, 0);
	if (got >= 0)
		text[got] = '\0';
	return got;
}

static void key(const char *name)
{
	char *at = strstr(text, name);

	if (at)
		sum += strtol(at + strlen(name), NULL, 10);
}

static void stat_file(void)
{
	char *at = strrchr(text, ')');

	for (int field = 2; at && field < 24; field++)
		at = strchr(at + 1, ' ');
	if (at)
		sum += strtol(at, NULL, 10);
}

static void look(int proc, DIR *listing, int keep)
{
	static const char *const keys[] = { "\nVmRSS:", "\nVmPTE:", "\nVmSwap:", "\nSigPnd:", "\nShdPnd:" };
	struct dirent *entry;
	char name[64];

	rewinddir(listing);
	while ((entry = readdir(listing))) {
		long pid = strtol(entry->d_name, NULL, 10);

		if (pid <= 0 || pid >= PIDS)
			continue;
		snprintf(name, sizeof(name), "%ld/stat", pid);
		if ((keep ? read_again(&kept_stat[pid], proc, name) : read_file(proc, name)) < 0)
			continue;
		stat_file();
		snprintf(name, sizeof(name), "%ld/oom_score_adj", pid);
		if ((keep ? read_again(&kept_adj[pid], proc, name) : read_file(proc, name)) > 0)
			sum += strtol(text, NULL, 10);
		if (keep)
			continue;
		snprintf(name, sizeof(name), "%ld/status", pid);
		if (read_file(proc, name) > 0)
			for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
				key(keys[i]);
		snprintf(name, sizeof(name), "%ld/statm", pid);
		if (read_file(proc, name) > 0)
			sum += strtol(text, NULL, 10);
		snprintf(name, sizeof(name), "%ld/cgroup", pid);
		if (read_file(proc, name) > 0)
			key(":memory:");
	}
}

static long long nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(void)
{
	int proc = open("/proc", O_RDONLY | O_DIRECTORY), kind;
	DIR *listing = opendir("/proc");

	while ((kind = getchar()) != EOF) {
		long long before = nanoseconds();

		look(proc, listing, kind == 'k');
		printf("%lld\n", nanoseconds() - before);
		fflush(stdout);
	}
	return 0;
}
