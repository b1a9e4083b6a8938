"""The commands for many pictures: ``singular-edit apply``, ``invert`` and ``learn``.

    arguments     what the command line takes
    help          how it is explained
    models        the pipeline that --model names
    apply         edit pictures with attributes; every edit is one of singular_edit.attach
    invert        find the noise of pictures, and draw them again
    learn         an attribute from two prompts, as a file
    folder        the pictures of a folder, and where their results go
    reading       a picture's file, as people have them; colour: its profile
    writing       a result's file, whole or not at all
    manifest      what became of each picture, a line each
    task          what apply and invert have in common; run does it to each picture
    shares        which pictures belong to which of several processes
    on_ray        the same on several machines
    exit_status   how a command ends

What is there is left as it is, and a picture's bytes and the seed alone decide what becomes of it: a run that was
killed goes on where it stood, and several processes make what one would have made.
"""
