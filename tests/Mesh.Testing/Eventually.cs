using System.Diagnostics;
using Xunit;

namespace Mesh.Testing;

/// <summary>Bounded waiting. A test names the condition that it waits for; it never waits for time to pass.</summary>
public static class Eventually
{
    /// <summary>Longer than anything takes on a busy machine, shorter than a person's patience.</summary>
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(30);

    public static Task<T> InTime<T>(this Task<T> task) => task.WaitAsync(Bound);

    public static Task InTime(this Task task) => task.WaitAsync(Bound);

    public static Task<T> InTime<T>(this ValueTask<T> task) => task.AsTask().WaitAsync(Bound);

    public static Task InTime(this ValueTask task) => task.AsTask().WaitAsync(Bound);

    /// <summary>Waits until the condition holds; fails with its name when it does not in time.</summary>
    public static async Task Until(string what, Func<bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < Bound, $"not within {Bound}: {what}");
            await Task.Delay(5);
        }
    }

    /// <summary>Waits until a condition that takes time to look at holds; fails with its name when it does not in time.</summary>
    /// <param name="what">Its name.</param>
    /// <param name="condition">The condition.</param>
    /// <param name="bound">How long it may take; <see cref="Bound"/> when null.</param>
    public static async Task UntilAsync(string what, Func<Task<bool>> condition, TimeSpan? bound = null)
    {
        var clock = Stopwatch.StartNew();
        while (!await condition())
        {
            Assert.True(clock.Elapsed < (bound ?? Bound), $"not within {bound ?? Bound}: {what}");
            await Task.Delay(5);
        }
    }
}
