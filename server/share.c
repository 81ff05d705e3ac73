#include "server/share.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct place {
	bool taken, told_apart;
	struct network network;
};

struct shares {
	pthread_mutex_t lock; /* guards what follows */
	unsigned taken, count;
	struct place places[];
};

struct shares *shares_new(unsigned places)
{
	struct shares *shares = calloc(1, sizeof(*shares) + places * sizeof(shares->places[0]));

	if (!shares)
		return NULL;
	pthread_mutex_init(&shares->lock, NULL);
	shares->count = places;
	return shares;
}

void shares_free(struct shares *shares)
{
	if (!shares)
		return;
	pthread_mutex_destroy(&shares->lock);
	free(shares);
}

/* With the lock held. */
static unsigned held_by(const struct shares *shares, const struct network *network)
{
	unsigned held = 0;

	for (unsigned i = 0; i < shares->count; i++) {
		const struct place *place = &shares->places[i];
		held += place->taken && place->told_apart &&
			!memcmp(&place->network, network, sizeof(*network));
	}
	return held;
}

/* With the lock held; one is free. */
static int first_free(const struct shares *shares)
{
	unsigned i = 0;

	while (shares->places[i].taken)
		i++;
	return (int)i;
}

int shares_take(struct shares *shares, const struct network *network)
{
	int place = -1;

	pthread_mutex_lock(&shares->lock);
	const unsigned left = shares->count - shares->taken, kept = shares->count / 4;
	const unsigned held = network ? held_by(shares, network) : 0;
	if (left && held && held + kept >= left) {
		place = -2;
	} else if (left) {
		place = first_free(shares);
		shares->places[place] = (struct place){.taken = true, .told_apart = network != NULL};
		if (network)
			shares->places[place].network = *network;
		shares->taken++;
	}
	pthread_mutex_unlock(&shares->lock);
	return place;
}

void shares_give(struct shares *shares, int place)
{
	pthread_mutex_lock(&shares->lock);
	shares->places[place].taken = false;
	shares->taken--;
	pthread_mutex_unlock(&shares->lock);
}

unsigned shares_taken(struct shares *shares)
{
	pthread_mutex_lock(&shares->lock);
	const unsigned taken = shares->taken;
	pthread_mutex_unlock(&shares->lock);
	return taken;
}
