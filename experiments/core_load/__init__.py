"""At what size does the server saturate, and what happens then?"""
