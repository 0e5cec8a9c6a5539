using Microsoft.AspNetCore.Authorization;

namespace Mesh.AspNetCore;

public sealed class RequireServiceAccountTests
{
    [Theory]
    [InlineData("web")]
    [InlineData("shop/")]
    [InlineData("/web")]
    [InlineData("shop/web/x")]
    [InlineData("")]
    public void What_is_no_service_account_is_refused_with_its_value(string account)
    {
        var error = Assert.Throws<ArgumentException>(() => new AuthorizationPolicyBuilder().RequireServiceAccount(account));
        Assert.StartsWith($"'{account}' is not a service account; allowed is NAMESPACE/NAME", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_policy_for_nobody_is_refused() =>
        Assert.Throws<ArgumentException>(() => new AuthorizationPolicyBuilder().RequireServiceAccount());
}
