"""The Kubernetes API as the operator uses it.

`access`: where it is and who we are · `client`: single requests · `world`: what was seen
last, and the picture of one Role out of it · `lease`: which operator writes ·
`tidings`: how kopf's watches fare · `configmaps`: the one kind that is watched per tenant namespace, since nobody may read it
everywhere. What is decided from what was seen is none of this room's business.
"""
