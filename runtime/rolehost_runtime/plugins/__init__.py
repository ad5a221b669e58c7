"""What others add to the platform: packages of the image that declare entry points.

    kinds       what can be added, the group of its entry points, and which version of its protocol is spoken
    finding     the plugins of allowed packages, found and loaded; nothing else is
    models      what an author of a ModelProvider needs
    memory      what an author of a MemoryStore needs
    behavior    what an author of a BehaviorPolicy needs
    prompts     what an author of a PromptTemplate needs

A plugin runs with the rights of the process that loads it, so it comes with the image, and only from packages that the
platform team names (ROLEHOST_PLUGINS): what is installed by accident is not loaded, and what a bundle brings is not
looked at. The sandbox knows `kinds`, `finding` and `behavior`; the others import the gateway.
"""
