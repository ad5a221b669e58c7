"""The Kubernetes API as the operator uses it.

`access`: where it is and who we are · `client`: single requests · `world`: what was seen last, and the picture of one Role
out of it · `shelf`: objects of which there are many, packed · `watch`: one kind, listed and watched · `tidings`: how watches
fare, kopf's too · `lease`: which operator writes · `unwatched`: what is asked for by its name · `configmaps`: the one kind that
is watched per tenant namespace, since nobody may read it everywhere. What is decided from what was seen is none of this room's
business.
"""
